"""Which packages a wheel holds; all else is in pyproject.toml.

The migrations lie at the top of the repository, where Alembic's own commands find them. A wheel
takes them into the package: a top-level `migrations` in site-packages could be anybody's.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["crawler*", "encoder*", "registry*"]),
        "registry.migrations",
        "registry.migrations.versions",
    ],
    package_dir={"registry.migrations": "migrations"},
)
