"""Rows to tokens: the tokenizer's own chat template, and an exact mask of what is learned.

>>> renderer = Renderer.of_model(folder, RenderingOptions(max_length=2048))
>>> for item in renderer.render(rows, account): ...

Every row gives samples (:class:`RenderedRow`) or says why not (:class:`RejectedRow`); nothing is lost silently.
"""

from llmasos.data.rendering.account import RenderingAccount as RenderingAccount
from llmasos.data.rendering.options import RenderingOptions as RenderingOptions
from llmasos.data.rendering.renderer import Renderer as Renderer
from llmasos.data.rendering.renderer import label_names as label_names
from llmasos.data.rendering.sample import RejectedRow as RejectedRow
from llmasos.data.rendering.sample import RenderedRow as RenderedRow
from llmasos.data.rendering.sample import RenderedSample as RenderedSample
from llmasos.data.rendering.turns import UnstableTemplate as UnstableTemplate
