"""The API's pages for people who program: Swagger UI, from here and not from a CDN."""

from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from registry.api.pages.render import render

router = APIRouter()
# Of all that the package has, only Swagger UI's script and styles are used.
SWAGGER = StaticFiles(directory=str(files("fastapi_offline") / "static"))


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    return render(request, "docs.html")
