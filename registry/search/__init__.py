"""Search. The package can be called, because `registry.search` is also the function.

Importing a submodule of `registry.search` sets the attribute `search` of `registry` to this
package, in the place of the function of that name; calling it must do the same.
"""

import sys
from types import ModuleType

from registry import search


class _CallableModule(ModuleType):
    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _CallableModule
