"""A data set as batches: npz, parquet, csv, jsonl, image or audio folder, ``module:function``."""

from gradatim.data.batch import Batch
from gradatim.data.dataset import Dataset
from gradatim.data.opening import data_digest, open_data
from gradatim.data.prompts import Asking
from gradatim.data.twins import Twins, twins

__all__ = ["Asking", "Batch", "Dataset", "Twins", "data_digest", "open_data", "twins"]
