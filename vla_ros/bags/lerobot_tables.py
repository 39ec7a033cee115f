"""Tables of a data set as LeRobot's loader expects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path

from numpy.typing import NDArray
import pyarrow as pa
import pyarrow.parquet as pq

from vla_ros.bags.lerobot_format import Feature

_TYPES = {
    'bool': pa.bool_(),
    'int64': pa.int64(),
    'float32': pa.float32(),
    'float64': pa.float64(),
}


def schema_of(features: Mapping[str, Feature]) -> pa.Schema:
    """Return the columns of the rows: scalars, and lists of a fixed length; no videos."""
    return pa.schema([(k, _type(f)) for k, f in features.items() if f['dtype'] != 'video'])


def table_of(columns: Mapping[str, NDArray], schema: pa.Schema) -> pa.Table:
    """Return rows (K,) or (K, n) a column as a table."""
    arrays = [_array(columns[name], schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(arrays, schema=schema)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the sentences, by task_index, as pandas writes a table with an index."""
    table = pa.table({'task_index': pa.array(range(len(tasks)), pa.int64()), 'task': list(tasks)})
    known = [('task_index', 'int64', 'int64'), ('task', 'unicode', 'object')]
    described = {
        'index_columns': ['task'],
        'column_indexes': [],
        'columns': [
            {'name': n, 'field_name': n, 'pandas_type': p, 'numpy_type': t, 'metadata': None}
            for n, p, t in known
        ],
        'creator': {'library': 'pyarrow', 'version': pa.__version__},
        'pandas_version': '2.0.0',
    }
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(described)}), path)


def _type(feature: Feature) -> pa.DataType:
    kind = _TYPES[feature['dtype']]
    size = feature['shape'][0]
    return kind if size == 1 else pa.list_(kind, size)


def _array(values: NDArray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(values.reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
    return pa.array(values, kind)
