"""A storage that is a folder: what a bucket is to Snakemake, without one."""

import shutil
from pathlib import Path

from snakemake_interface_storage_plugins.io import Mtime, get_constant_prefix
from snakemake_interface_storage_plugins.storage_object import StorageObjectGlob, StorageObjectWrite
from snakemake_interface_storage_plugins.storage_object import StorageObjectRead as Read
from snakemake_interface_storage_plugins.storage_provider import (
    ExampleQuery,
    QueryType,
    StorageProviderBase,
    StorageQueryValidationResult,
)


class StorageProvider(StorageProviderBase):
    @classmethod
    def example_queries(cls):
        return [ExampleQuery(query="a/b.csv", type=QueryType.ANY, description="A path.")]

    def rate_limiter_key(self, query, operation):
        return None

    def default_max_requests_per_second(self):
        return 1.0

    def use_rate_limiter(self):
        return False

    @classmethod
    def is_valid_query(cls, query):
        return StorageQueryValidationResult(query=query, valid=True)


class StorageObject(Read, StorageObjectWrite, StorageObjectGlob):
    def __post_init__(self):
        self.path = Path(self.query)

    async def inventory(self, cache):
        key = self.cache_key()
        cache.exists_in_storage[key] = self.exists()
        if self.exists():
            cache.mtime[key] = Mtime(storage=self.mtime())
            cache.size[key] = self.size()

    def get_inventory_parent(self):
        return str(self.path.parent)

    def local_suffix(self):
        return str(self.query).lstrip("/")

    def cleanup(self):
        pass

    def exists(self):
        return self.path.exists()

    def mtime(self):
        return self.path.stat().st_mtime

    def size(self):
        return self.path.stat().st_size

    def retrieve_object(self):
        shutil.copy2(self.path, self.local_path())

    def store_object(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.local_path(), self.path)

    def remove(self):
        self.path.unlink()

    def list_candidate_matches(self):
        return map(str, Path(get_constant_prefix(self.query)).rglob("*"))
