import pytest

from early_exit.errors import InputError
from early_exit.io.provenance import check_same_provenance, made_of_network

ONE, OTHER = {"network": "1" * 64, "data": "d" * 64}, {"network": "2" * 64, "data": "d" * 64}


def test_matching_tables_are_accepted():
    check_same_provenance(("a", ONE), ("b", {"data": "d" * 64}), ("c", ONE), ("d", {}))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([("a", ONE), ("b", OTHER)], "b: made with another network than a; delete the older and"),
        ([("a", ONE), ("b", OTHER), ("c", ONE)], "b: made with another network than a; delete it"),
        ([("a", OTHER), ("b", ONE), ("c", ONE)], "a: made with another network than b; delete it"),
        ([("a", OTHER), ("b", {}), ("c", ONE)], "c: made with another network than a; .* older"),
        ([("a", ONE), ("b", ONE), ("c", OTHER), ("d", OTHER)], "c: .* than a; delete the older"),
        ([("a", ONE), ("b", ONE | {"data": "0"}), ("c", ONE)], "b: made with other data than a"),
    ],
)
def test_the_one_that_most_disagree_with_is_named(tables, message):
    with pytest.raises(InputError, match=f"^{message}"):
        check_same_provenance(*tables)


def test_a_given_remedy_replaces_the_default():
    with pytest.raises(InputError, match=r"; copy both$"):
        check_same_provenance(("a", ONE), ("b", OTHER), ("c", ONE), remedy="copy both")


IN_INT8 = {"engine": "onnxruntime:int8:" + "3" * 64}


@pytest.mark.parametrize("made", [{"split": "test"}, {"costs": "4" * 64}])
def test_what_another_engine_made_is_refused(made):
    """Records, costs and what is made of them; without a name they are of torch in fp32."""
    own = ONE | made
    with pytest.raises(InputError, match=r"b: made with another backend or precision .* than a"):
        check_same_provenance(("a", own), ("b", own | IN_INT8))
    check_same_provenance(("a", own | IN_INT8), ("b", own | IN_INT8))
    check_same_provenance(("a", own), ("b", own | {"engine": "torch:fp32"}))


def test_no_engine_made_a_network_data_or_a_checksum():
    own = ONE | {"split": "test", "costs": "4" * 64} | IN_INT8
    check_same_provenance(
        ("a", own), ("b", ONE), ("c", {"costs": "4" * 64}), ("d", {"data": "d" * 64})
    )


def test_records_that_name_no_network_may_be_of_any_engine():
    assert made_of_network({"split": "new", "data": "d"}) == {}
    own = ONE | {"split": "new"} | IN_INT8
    assert made_of_network(own) == {key: own[key] for key in ("network", "engine", "split")}
