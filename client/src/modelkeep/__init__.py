"""Push, pull and find models in a Modelkeep registry."""

from modelkeep.client import Client
from modelkeep.errors import ModelkeepError
from modelkeep.progress import Progress
from modelkeep.results import Deleted, File, Upload, Version

__all__ = ["Client", "Deleted", "File", "ModelkeepError", "Progress", "Upload", "Version"]
