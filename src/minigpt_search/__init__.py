"""minigpt-search: which learning rate, how many epochs, which width, searched for a small GPT.

Beside this file four links lead to the checkout's folders, so that their code has one name for
import, `minigpt_search.data` and so on, and a `data` or `model` of the user's own keeps its name.
Where a copy of the checkout has folders or files in place of the links, the checkout's are taken.
"""

from pathlib import Path

__version__ = "0.1.0"
_ROOMS = ("data", "model", "search", "reports")
_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[1]
if (_CHECKOUT / "search" / "run.py").is_file() and any(
    (_HERE / room).resolve() != _CHECKOUT / room for room in _ROOMS
):
    __path__ = [str(_CHECKOUT), str(_HERE)]
