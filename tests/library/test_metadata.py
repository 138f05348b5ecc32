from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from llmasos.errors import IntegrityError
from llmasos.library.kind import Kind
from llmasos.library.metadata import (
    METADATA_ANNOTATION,
    Lineage,
    Metadata,
    config_document,
    decode,
    metadata_from_config,
    parameter_size,
)


def test_config_is_a_modelpack_configuration() -> None:
    metadata = Metadata(
        architecture="llama",
        parameters=134_515_008,
        languages=["en", "zho"],
        license="Apache-2.0",
        format="transformers",
        precision="bfloat16",
        quantization="Q4_0",
        description="Small.",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    document = config_document(metadata, ["sha256:1", "sha256:2"])
    # The specification's schema allows these three keys and no others, and inside them no keys of ours.
    assert document == {
        "descriptor": {
            "createdAt": "2026-01-02T03:04:05Z",
            "family": "llama",
            "licenses": ["Apache-2.0"],
            "description": "Small.",
        },
        "config": {
            "architecture": "transformer",
            "format": "transformers",
            "precision": "bfloat16",
            "quantization": "Q4_0",
            "paramSize": "134.5M",
            "capabilities": {"languages": ["en"]},
        },
        "modelfs": {"type": "layers", "diffIds": ["sha256:1", "sha256:2"]},
    }
    again = metadata_from_config(document)
    assert (again.architecture, again.license, again.created) == ("llama", "Apache-2.0", metadata.created)


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, None), (12, None), (1500, "1.5K"), (134_515_008, "134.5M"), (7_000_000_000, "7B"), (1_500_000_000, "1.5B")],
)
def test_parameter_size(count: int | None, text: str | None) -> None:
    assert parameter_size(count) == text


@pytest.mark.parametrize("document", [None, [], {}, {"descriptor": {}}, {"descriptor": [], "config": {}}, "x"])
def test_what_is_not_a_modelpack_configuration_is_refused(document: object) -> None:
    with pytest.raises(IntegrityError):
        metadata_from_config(document)


def test_odd_fields_of_another_tools_configuration_are_left_out() -> None:
    document = {
        "descriptor": {"family": 3, "licenses": ["MIT", 4], "createdAt": "yesterday"},
        "config": {"format": None, "capabilities": []},
    }
    assert metadata_from_config(document) == Metadata(license="MIT")


def test_times_are_utc() -> None:
    east = timezone(timedelta(hours=8))
    assert Metadata(created=datetime(2026, 1, 1, 8, tzinfo=east)).created == datetime(2026, 1, 1, tzinfo=UTC)
    assert Metadata(created=datetime(2026, 1, 1)).created == datetime(2026, 1, 1, tzinfo=UTC)


def test_unknown_fields_and_wrong_types_are_refused_when_writing() -> None:
    with pytest.raises(ValidationError):
        Metadata(parameter=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Metadata(parameters="3")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Metadata(metrics={"loss": float("nan")})
    with pytest.raises(ValidationError):
        Metadata(description="\ud800")
    with pytest.raises(ValidationError):
        Lineage(step="x", source="\udfff")


def test_fields_of_a_newer_version_are_left_out_when_reading(caplog: pytest.LogCaptureFixture) -> None:
    text = '{"kind":"adapter","invented_later":[1]}'
    assert decode(Metadata, {METADATA_ANNOTATION: text}, METADATA_ANNOTATION) == Metadata(kind=Kind.ADAPTER)
    assert "invented_later" in caplog.text


@pytest.mark.parametrize("text", ['{"kind":"invention","x":1}', '{"parameters":-1}', "[]", "{", ""])
def test_wrong_values_are_refused_when_reading(text: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        decode(Metadata, {METADATA_ANNOTATION: text}, METADATA_ANNOTATION)
    assert METADATA_ANNOTATION in caught.value.message


def test_nothing_is_read_from_nothing() -> None:
    assert decode(Metadata, {}, METADATA_ANNOTATION) is None


def test_which_kinds_need_their_base() -> None:
    assert {kind for kind in Kind if kind.needs_base} == {Kind.ADAPTER, Kind.STEERING_VECTOR}
