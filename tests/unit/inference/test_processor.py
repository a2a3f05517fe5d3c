"""What the processor has instructions for, from the flags that the system lists."""

import pytest

from early_exit.inference import processor

# The first of several processors counts.
X86 = (
    "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 avx512f {}\n\n"
    "flags\t: amx_int8\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n"


@pytest.fixture(autouse=True)
def forgotten():
    processor._first.cache_clear()
    yield
    processor._first.cache_clear()


@pytest.mark.parametrize(
    ("text", "flags", "emulated"),
    [
        (X86.format("avx512_vnni"), ["avx2", "avx512f", "avx512_vnni"], {"bf16"}),
        (X86.format("avx512_bf16"), ["avx2", "avx512f", "avx512_bf16"], {"int8"}),
        (X86.format("amx_bf16 amx_int8"), ["avx2", "avx512f", "amx_bf16", "amx_int8"], set()),
        (X86.format(""), ["avx2", "avx512f"], {"bf16", "int8"}),
        (ARM, ["asimd", "bf16", "asimddp"], set()),
        ("", [], {"bf16", "int8"}),
    ],
)
def test_what_has_no_instructions_is_emulated(monkeypatch, tmp_path, text, flags, emulated):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.flags() == flags
    assert {one for one in ("fp32", "bf16", "int8") if processor.is_emulated(one)} == emulated


def test_a_system_that_lists_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(processor.platform, "processor", lambda: "arm")
    assert (processor.processor(), processor.flags()) == ("arm", [])


def test_the_name_of_the_processor(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(X86)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.processor() == "Some CPU @ 2 GHz"
