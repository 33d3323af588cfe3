import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from engines import cpu as processor
from engines import openvino_engine, select
from engines.errors import EngineError, OptionsError
from engines.installed import pip_install
from engines.options import ModelOptions
from engines.select import TWINS, open_engine, read_model, shipped_model, survey
from engines.shipped import STYLES
from engines.tensorrt.cuda import Gpu

CPU_ONLY = pytest.mark.skipif(bool(select.find_gpus()), reason="this machine has an NVIDIA GPU")

CPU_ENGINES = tuple(name for name in select.ENGINES if name != "tensorrt")

GPUS = (Gpu("NVIDIA L4", "8.9"), Gpu("NVIDIA T4", "7.5"))


@pytest.fixture
def fake_gpus(monkeypatch):
    """A machine whose driver shows two GPUs; nothing can really draw on them."""
    monkeypatch.setattr(select, "find_gpus", lambda: GPUS)


@pytest.fixture
def without(monkeypatch):
    """Makes packages look as if they were not installed."""
    import importlib.util

    real_find = importlib.util.find_spec

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name in names else real_find(name, *rest)
        )

    return hide


def refusal(model, **options):
    """The one line of an attempt that must fail."""
    with pytest.raises(EngineError) as caught:
        open_engine(model, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@CPU_ONLY
def test_auto_takes_openvino_on_a_cpu(tiny_pair, tiny_model, load_tiny):
    for options in ({}, {"device": "cpu"}, {"engine": "openvino"}, {"load_module": load_tiny}):
        engine = open_engine(tiny_pair, **options)
        assert (engine.name, engine.device, engine.precision) == ("openvino", "cpu", "fp32")
    assert open_engine(tiny_model).name == "openvino"


@CPU_ONLY
def test_auto_goes_on_to_what_is_installed(tiny_pair, load_tiny, without):
    without("openvino")
    assert open_engine(tiny_pair, load_module=load_tiny).name == "onnxruntime"
    without("openvino", "onnxruntime")
    assert open_engine(tiny_pair, load_module=load_tiny).name == "torch"


def test_auto_without_any_engine_says_what_to_install(tiny_model, without):
    without("openvino", "onnxruntime", "torch")
    assert "python -m pip install openvino" in refusal(tiny_model)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("openvino", "python -m pip install openvino"),
        ("onnxruntime", "python -m pip install onnxruntime"),
        ("torch", pip_install("torch")),
    ],
)
def test_a_named_engine_that_is_missing_is_an_error(tiny_pair, load_tiny, without, name, command):
    without(name)
    message = refusal(tiny_pair, engine=name, load_module=load_tiny)
    assert f"cannot draw with {name}" in message
    assert command in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "tflite"}, "choose auto, tensorrt, openvino, onnxruntime, torch"),
        ({"precision": "int4"}, "choose auto, fp32, fp16, bf16, int8"),
        ({"device": "tpu"}, "choose auto, cpu, cuda"),
        ({"device": "cuda:x"}, "choose auto, cpu, cuda"),
        ({"device": "cuda,cuda:1"}, "choose auto, cpu, cuda"),
        ({"device": "cpu,cuda:1"}, "choose auto, cpu, cuda"),
        ({"batch_size": 0}, "batch size cannot be 0"),
    ],
)
def test_unknown_options_are_errors(tiny_pair, options, words):
    assert words in refusal(tiny_pair, **options)


@CPU_ONLY
@pytest.mark.parametrize("engine", ["auto", *select.ENGINES])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_here_is_an_error(tiny_pair, load_tiny, engine, device):
    message = refusal(tiny_pair, engine=engine, device=device, load_module=load_tiny)
    assert f"cannot draw on {device}" in message
    assert "--device cpu" in message


def test_a_gpu_number_too_high_lists_those_here(tiny_pair, fake_gpus):
    assert "cuda:0 (NVIDIA L4), cuda:1 (NVIDIA T4)" in refusal(tiny_pair, device="cuda:2")


def test_openvino_never_draws_on_a_gpu(tiny_pair, fake_gpus):
    message = refusal(tiny_pair, engine="openvino", device="cuda:1")
    assert "cannot draw with openvino on cuda:1" in message
    assert "cpu only" in message


@CPU_ONLY
@pytest.mark.parametrize(
    ("engine", "command"), [("onnxruntime", "onnxruntime-gpu[cuda,cudnn]"), ("torch", "--force-reinstall torch")]
)
def test_a_build_without_cuda_is_an_error_with_a_remedy(tiny_pair, load_tiny, fake_gpus, monkeypatch, engine, command):
    pretend_builds(monkeypatch, cuda=False)
    message = refusal(tiny_pair, engine=engine, device="cuda:0", load_module=load_tiny)
    assert f"cannot draw with {engine} on cuda:0: this build of {engine} has no CUDA" in message
    assert command in message


@pytest.mark.filterwarnings("ignore:Specified provider")  # the library has no CUDA, whatever it is made to say
@CPU_ONLY
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_a_gpu_library_that_does_not_start_is_an_error_where_named(
    tiny_pair, load_tiny, fake_gpus, monkeypatch, capfd, engine
):
    pretend_builds(monkeypatch, cuda=True)
    message = refusal(tiny_pair, engine=engine, device="cuda:0", load_module=load_tiny)
    assert message.startswith(f"{engine} cannot draw on cuda:0")
    assert capfd.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:Specified provider")  # the library has no CUDA, whatever it is made to say
@CPU_ONLY
def test_auto_says_when_a_gpu_was_passed_over(tiny_pair, load_tiny, fake_gpus, monkeypatch, caplog):
    pretend_builds(monkeypatch, cuda=True)
    with caplog.at_level(logging.WARNING):
        engine = open_engine(tiny_pair, load_module=load_tiny)
    assert (engine.name, engine.device) == ("openvino", "cpu")
    (record,) = caplog.records
    assert record.getMessage().startswith("drawing with openvino on cpu: ")
    assert "tensorrt" in record.getMessage()


def pretend_builds(monkeypatch, *, cuda):
    """Makes onnxruntime and torch look as if they were built with CUDA, or without."""
    import onnxruntime

    from engines import torch_engine

    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(torch_engine, "_cuda_version", lambda: "12.8" if cuda else None)


@pytest.mark.parametrize("engine", ["auto", *CPU_ENGINES])
def test_fp16_on_a_cpu_is_an_error(tiny_pair, load_tiny, engine):
    message = refusal(tiny_pair, engine=engine, device="cpu", precision="fp16", load_module=load_tiny)
    assert "fp16" in message
    assert "--precision fp32" in message


def test_bf16_in_onnxruntime_is_an_error(tiny_model):
    message = refusal(tiny_model, engine="onnxruntime", device="cpu", precision="bf16")
    assert "onnxruntime cannot draw in bf16 on cpu" in message


@pytest.mark.parametrize(
    ("asked", "listed", "capabilities", "chosen"),
    [
        ("auto", "bf16", ["FP32", "BF16"], "bf16"),
        ("auto", "bf16", ["FP32"], "fp32"),
        ("auto", "", ["FP32", "BF16"], "fp32"),
        ("fp32", "bf16", ["FP32", "BF16"], "fp32"),
        ("bf16", "", ["FP32", "BF16"], "bf16"),
    ],
)
def test_openvino_computes_in_bf16_only_where_that_is_right(write_model, asked, listed, capabilities, chosen):
    metadata = {"format": "apdraw-generator", "format_version": "1", "precisions": listed}
    info = select.read_metadata(write_model(metadata=metadata))
    assert openvino_engine._choose_precision(asked, info, capabilities) == chosen


def test_openvino_refuses_bf16_on_a_cpu_without_it(tiny_model):
    info = select.read_metadata(tiny_model)
    with pytest.raises(EngineError, match="this CPU does not compute in it"):
        openvino_engine._choose_precision("bf16", info, ["FP32"])


def test_openvino_never_computes_places_in_bf16(monkeypatch, tiny_model):
    """The tiny graph computes with its landmarks as they are, which bf16 would move."""
    monkeypatch.setattr(openvino_engine, "_choose_precision", lambda *_: "bf16")
    message = refusal(tiny_model, engine="openvino", precision="bf16")
    assert "would lose their exact place" in message
    assert open_engine(tiny_model, engine="openvino").precision == "fp32"


@pytest.fixture
def in_int8(write_model, tiny_metadata, monkeypatch):
    """Puts a file that says it is of int8 beside the tiny model; its drawings are the same."""

    def write(*, vnni=True, bf16=False, name="tiny.int8.onnx", **metadata):
        monkeypatch.setattr(select, "has_int8", lambda: vnni)
        monkeypatch.setattr(select, "has_bf16", lambda: bf16)
        return write_model(name, metadata=tiny_metadata | {"precision": "int8"} | metadata)

    return write


@CPU_ONLY
def test_auto_draws_in_int8_where_the_processor_has_it(tiny_pair, in_int8, caplog):
    in_int8()
    for given in (tiny_pair, tiny_pair.with_suffix(".safetensors")):
        assert open_engine(given).precision == "int8"
        assert open_engine(given, precision="int8").precision == "int8"
        assert open_engine(given, precision="fp32").precision == "fp32"
    assert open_engine(tiny_pair, engine="onnxruntime").precision == "fp32"
    assert open_engine(tiny_pair, engine="onnxruntime", precision="int8").precision == "int8"
    assert caplog.records == []


def test_bf16_goes_before_int8_where_the_model_keeps_its_drawings_in_it(tiny_model, in_int8):
    in_int8(bf16=True)
    info = read_model(tiny_model)
    assert "bf16" not in info.precisions
    assert select.fast_on_cpu(info) == "int8"
    assert select.fast_on_cpu(dataclasses.replace(info, precisions=("fp32", "bf16"))) == "bf16"
    in_int8(vnni=False, bf16=True)
    assert select.fast_on_cpu(info) == "fp32"


@CPU_ONLY
def test_a_processor_without_int8_is_not_asked_for_it(tiny_pair, in_int8):
    alone = in_int8(vnni=False)
    assert open_engine(tiny_pair).precision == "fp32"
    for message in (refusal(tiny_pair, precision="int8"), refusal(alone)):
        assert "a CPU with VNNI; use --precision fp32" in message


@CPU_ONLY
def test_int8_of_other_weights_is_passed_over_with_a_warning(tiny_pair, in_int8, caplog):
    other = in_int8(generator_sha256="cd" * 32)
    assert open_engine(tiny_pair).precision == "fp32"
    (record,) = caplog.records
    assert f"{other} was not made of the same weights" in record.getMessage()
    assert "was not made of the same weights" in refusal(tiny_pair, precision="int8")


@CPU_ONLY
def test_int8_that_is_not_there_is_an_error_with_the_command(tiny_model, monkeypatch):
    monkeypatch.setattr(select, "has_int8", lambda: True)
    message = refusal(tiny_model, precision="int8")
    assert f"there is no {tiny_model.with_suffix('.int8.onnx')}" in message
    assert "--precision int8 --calibration DATASET" in message


@CPU_ONLY
def test_a_model_of_int8_is_drawn_in_it_alone(in_int8, load_tiny):
    model = in_int8(name="alone.onnx")
    assert open_engine(model).precision == "int8"
    for engine in ("openvino", "onnxruntime"):
        message = refusal(model, engine=engine, precision="fp32")
        assert "int8" in message
    message = refusal(model, engine="torch", load_module=load_tiny)
    assert message.startswith("torch cannot draw")


def test_the_twin_in_half_precision_is_for_gpus(tiny_pair, write_model, tiny_metadata, monkeypatch):
    """`auto` takes it wherever an engine draws on a GPU; torch learns from it that the weights allow it."""
    write_model("tiny.fp16.onnx", metadata=tiny_metadata | {"precision": "fp16", "precisions": "fp16"})
    monkeypatch.setattr(select, "has_int8", lambda: False)
    info, weights = read_model(tiny_pair), tiny_pair.with_suffix(".safetensors")
    for name in ("tensorrt", "onnxruntime"):
        file, found = select._twin(select.backend(name), "cuda:0", "auto", tiny_pair, info)
        assert (file.name, found.precision) == ("tiny.fp16.onnx", "fp16")
        assert select._twin(select.backend(name), "cuda:0", "fp32", tiny_pair, info) == (tiny_pair, info)
    assert select._twin(select.backend("onnxruntime"), "cpu", "auto", tiny_pair, info) == (tiny_pair, info)
    assert select._twin(select.backend("openvino"), "cpu", "auto", tiny_pair, info) == (tiny_pair, info)
    file, found = select._twin(select.backend("torch"), "cuda:0", "auto", weights, read_model(weights))
    assert (file, found.precision, found.precisions) == (weights, "fp32", ("fp32", "fp16"))


def test_int8_is_for_cpus(tiny_pair, in_int8, fake_gpus, load_tiny):
    in_int8()
    for options in ({"engine": "tensorrt"}, {"engine": "torch"}, {"engine": "onnxruntime", "device": "cuda"}):
        message = refusal(tiny_pair, precision="int8", load_module=load_tiny, **options)
        assert "only openvino and onnxruntime do, on a CPU" in message


@pytest.mark.parametrize(
    ("text", "int8", "bf16"),
    [
        ("flags\t\t: fpu avx512f avx512_vnni\n", True, False),
        ("flags\t\t: fpu avx2 avx_vnni sse\n", True, False),
        ("flags\t\t: fpu avx512_bf16 avx512_vnni\n", True, True),
        ("flags\t\t: fpu avx2 avx512f\n", False, False),
        ("model name\t: amx_int8 amx_bf16\n", False, False),
        (None, False, False),
    ],
)
def test_int8_and_bf16_are_told_by_the_flags_of_the_processor(tmp_path, monkeypatch, text, int8, bf16):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", path)
    processor._flags.cache_clear()
    try:
        assert (processor.has_int8(), processor.has_bf16()) == (int8, bf16)
    finally:
        processor._flags.cache_clear()


def test_each_engine_takes_its_half_of_a_pair(tiny_pair, load_tiny):
    weights = tiny_pair.with_suffix(".safetensors")
    for given in (tiny_pair, weights):
        for engine in CPU_ENGINES:
            assert open_engine(given, engine=engine, load_module=load_tiny).name == engine


def test_weights_alone_are_drawn_by_torch(write_weights, load_tiny):
    assert open_engine(write_weights(), load_module=load_tiny).name == "torch"


def test_weights_alone_without_torch_say_what_to_install(write_weights, load_tiny, without):
    weights = write_weights()
    without("torch")
    assert pip_install("torch") in refusal(weights, load_module=load_tiny)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_weights_alone_must_be_exported_for_the_others(write_weights, engine):
    weights = write_weights()
    message = refusal(weights, engine=engine)
    assert f"apdraw export {weights} {weights.with_suffix('.onnx')}" in message


def test_torch_needs_the_weights_beside_a_graph(tiny_model, load_tiny):
    message = refusal(tiny_model, engine="torch", load_module=load_tiny)
    assert "there is no" in message
    assert "tiny.safetensors" in message


@pytest.mark.parametrize("checksum", [{"generator_sha256": "cd" * 32}, {}])
def test_files_of_one_stem_with_other_weights_are_no_pair(write_model, write_weights, load_tiny, checksum):
    metadata = {"format": "apdraw-generator", "format_version": "1", **checksum}
    model, weights = write_model(), write_weights(metadata=metadata)
    assert "not made of the same weights" in refusal(model, engine="torch", load_module=load_tiny)
    assert "not made of the same weights" in refusal(weights, engine="openvino")
    assert open_engine(weights, load_module=load_tiny).name == "torch"
    assert open_engine(model, load_module=load_tiny).name != "torch"


def test_torch_without_a_loader_is_an_error(tiny_pair):
    assert "load_module" in refusal(tiny_pair, engine="torch")


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    missing, text = tmp_path / "missing.onnx", tmp_path / "text.onnx"
    text.write_text("no model")
    assert "there is no model" in refusal(missing)
    assert "damaged" in refusal(text)


@CPU_ONLY
def test_the_survey_tells_what_is_installed_and_picked():
    found = {status.name: status for status in survey()}
    assert tuple(found) == select.ENGINES
    tensorrt = found.pop("tensorrt")
    assert (tensorrt.runs_here, tensorrt.devices, tensorrt.remedy) == (False, (), None)
    assert tensorrt.reason == "the NVIDIA driver shows no GPU here"
    for status in found.values():
        assert status.runs_here
        assert status.version
        assert status.devices == ("cpu",)
        assert status.reason is None
        assert status.remedy is None
    assert [status.name for status in found.values() if status.picked] == ["openvino"]


def test_the_survey_tells_what_is_missing(without):
    without("openvino", "torch")
    found = {status.name: status for status in survey()}
    for name in ("openvino", "torch"):
        assert not found[name].runs_here
        assert found[name].version is None
        assert found[name].devices == ()
        assert found[name].reason
        assert found[name].remedy.startswith("python -m pip install ")
    assert found["onnxruntime"].picked


@CPU_ONLY
def test_the_survey_tells_of_a_gpu_that_is_not_used(fake_gpus, monkeypatch, without):
    without("tensorrt", "tensorrt_rtx")
    pretend_builds(monkeypatch, cuda=False)
    found = {status.name: status for status in survey()}
    assert found["onnxruntime"].devices == ("cpu",)
    assert "no CUDA" in found["onnxruntime"].reason
    assert "onnxruntime-gpu" in found["onnxruntime"].remedy
    assert found["openvino"].picked
    pretend_builds(monkeypatch, cuda=True)
    found = {status.name: status for status in survey()}
    assert found["onnxruntime"].devices == ("cuda:0", "cuda:1", "cpu")
    assert found["onnxruntime"].picked
    assert found["tensorrt"].remedy == pip_install("tensorrt-rtx")


def test_neither_the_module_nor_the_survey_imports_torch():
    code = (
        "import sys, engines.select as s\n"
        "gpu = {'tensorrt', 'tensorrt_rtx', 'cuda.bindings'}\n"
        "assert not {'openvino', 'onnxruntime', 'torch', *gpu} & sys.modules.keys()\n"
        "s.survey()\n"
        "assert not {'torch', *gpu} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("style", STYLES)
def test_a_model_of_each_style_lies_in_the_package(style):
    model = shipped_model(style)
    assert model.parent.name == "weights"
    for suffix in (".onnx", *TWINS.values(), ".safetensors"):
        assert model.with_suffix(suffix).is_file()
    assert read_model(model).precision == "fp32"
    assert read_model(model.with_suffix(TWINS["int8"])).precision == "int8"


def test_the_style_names_the_model_and_fine_is_the_default():
    assert ModelOptions().path == shipped_model("fine")
    assert ModelOptions(style="bold").path == shipped_model("bold") != shipped_model("fine")
    assert ModelOptions(model=Path("own.onnx")).path == Path("own.onnx")


def test_a_model_of_one_s_own_has_no_other_style():
    with pytest.raises(OptionsError, match="leave out --style, or --model"):
        ModelOptions(style="bold", model=Path("own.onnx"))
