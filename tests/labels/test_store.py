from sdsearch.labels.label import Series
from sdsearch.labels.store import LabelStore
from tests.fakes import make_label


def test_a_label_that_was_left_empty_is_none_and_is_written_over(tmp_path):
    store, label = LabelStore(tmp_path), make_label(fd_efflite0=2.0)
    path = store.path(label.key)
    path.parent.mkdir(parents=True)
    path.touch()
    assert label.key not in store
    assert store.read_all() == []
    assert store.read_series(Series(label.protocol_key, label.seed)) == {}
    assert store.publish(label)
    assert store.read(label.key) == label
    assert not store.publish(label)
