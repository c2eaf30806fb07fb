"""A data set as batches: npz, parquet, csv, jsonl, image or audio folder, ``module:function``."""

from gradatim.data.batch import Batch
from gradatim.data.dataset import Dataset, data_digest, open_data
from gradatim.data.labels import label_indices

__all__ = ["Batch", "Dataset", "data_digest", "label_indices", "open_data"]
