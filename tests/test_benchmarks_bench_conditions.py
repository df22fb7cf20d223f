"""A watch on fake machines: energy of a stretch, throttling, disturbance, and power that was asked for in vain."""

import threading
import time

import pytest
from fake_sensors import FakeNvml, jetson_tree, rapl_tree, write

from benchmarks.bench import conditions, machine_facts
from benchmarks.bench.conditions import Watch
from benchmarks.bench.disturbances import Stretch, flags_of, is_bad
from benchmarks.bench.nvml import open_nvml
from benchmarks.bench.results import Gpu, Result, from_json, to_json
from benchmarks.bench.sampler import Sampler, joule_between, rise_between, thinned
from sdk.errors import BackendError, InputError


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(conditions, "IDLE_S", 0.06)


def result_with(found):
    return Result("trt-bench", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", True, "1", None, found)


def test_energy_by_trapezoids_and_by_counters():
    rows = [{"t_s": t, "w": 10.0 * t, "j": 5.0 * t * t} for t in (0.0, 1.0, 2.0, 3.0)]
    assert joule_between(rows, "w", start_s=0.5, end_s=2.5) == pytest.approx(30.0)  # integral of 10 t
    assert joule_between(rows, "w", start_s=1.2, end_s=1.4) == pytest.approx(2.6)  # between two samples
    assert rise_between(rows, "j", start_s=1.0, end_s=3.0) == pytest.approx(40.0)
    assert rise_between(rows, "j", start_s=0.5, end_s=1.0) == pytest.approx(2.5)  # on the line between samples
    assert joule_between(rows, "none", start_s=0.0, end_s=1.0) is None
    assert joule_between(rows, "w", start_s=9.0, end_s=10.0) is None
    assert rise_between(rows, "j", start_s=2.0, end_s=9.0) is None
    assert rise_between([{"t_s": 0.0, "j": 9.0}, {"t_s": 1.0, "j": 1.0}], "j", start_s=0.0, end_s=1.0) is None


def test_flags_of_a_stretch():
    quiet = [{"t_s": t / 10, "busy_s": 100 + t / 10, "own_s": t / 10, "steal_s": 0.0, "throttle": 1} for t in range(21)]
    assert flags_of(quiet, Stretch(0.0, 2.0), cores=2) == ()
    busy = [one | {"busy_s": 100 + 1.8 * one["t_s"]} for one in quiet]
    assert flags_of(busy, Stretch(0.0, 2.0), cores=2) == ("disturbed: other processes took 0.8 of 2 processors",)
    assert flags_of(busy, Stretch(0.0, 0.3), cores=2) == ()  # too short to tell
    robbed = [one | {"steal_s": 0.3 * one["t_s"]} for one in quiet]
    assert flags_of(robbed, Stretch(0.0, 2.0), cores=2) == ("disturbed: the host took 0.30 of 2 processors",)
    hot = [one | {"throttle": 0x44 if one["t_s"] == 1.0 else 0, "cpu_throttle": one["t_s"] > 1.5} for one in quiet]
    assert flags_of(hot, Stretch(0.0, 2.0), cores=2) == ("throttled: power cap, thermal, hardware, processor too hot",)
    assert flags_of(hot, Stretch(1.1, 1.4), cores=2) == ()
    still = [quiet[0], quiet[-1] | {"busy_s": 102.0}]
    assert flags_of(still, Stretch(0.0, 2.0), cores=2) == ("disturbed: no sensor was read for 2.0 s",)
    assert is_bad(["few samples", "throttled: power cap"]) and not is_bad(["few samples"])


def test_watch_of_processors(tmp_path):
    """A thread adds 3 J to each zone every 5 ms; the watch sees both of them, and what it cannot read is None."""
    rapl_tree(tmp_path, joule=0.0)
    write(tmp_path, {"proc/cpuinfo": "model name : Made Up 9\n", "proc/meminfo": "MemTotal: 2048000 kB\n"})
    stop = threading.Event()

    def burn():
        for step in range(1, 2000):
            if stop.wait(0.005):
                return
            for zone in ("intel-rapl:0", "intel-rapl:0:1"):
                file = tmp_path / f"sys/class/powercap/{zone}/energy_uj"
                file.with_suffix(".new").write_text(str(step * 3_000_000))
                file.with_suffix(".new").replace(file)

    burning = threading.Thread(target=burn)
    burning.start()
    try:
        with Watch(power=True, period_s=0.01, root=tmp_path) as watch:
            start_s = watch.now_s()
            time.sleep(0.3)
            window = watch.between(start_s, watch.now_s())
    finally:
        stop.set()
        burning.join()
    assert 20 < window.mean_w < 1300  # 1200 W where nothing else runs
    assert window.joule == pytest.approx(window.mean_w * window.duration_s)
    found = watch.conditions(probe={"copy_gb_s": 9.5, "int8_gop_s": None})
    assert (found.machine.cpu, found.machine.memory_mib, found.machine.governor) == ("Made Up 9", 2000, None)
    assert (found.power.source, found.gpu, found.jetson) == ("rapl", None, None)
    assert found.power.idle_w > 0 and found.power.mean_w > 0
    assert found.libraries["numpy"] and len(found.samples) > 5
    assert from_json(to_json(result_with(found))).conditions == found


def test_watch_of_a_jetson(tmp_path, monkeypatch):
    orin = Gpu("Orin", "sm_87", "540.4.0", "12.6", 7620)
    monkeypatch.setattr(machine_facts, "gpu_of", lambda index: orin)
    with Watch(gpu=0, power=True, period_s=0.005, root=jetson_tree(tmp_path), open_gpu=pytest.fail) as watch:
        start_s = watch.now_s()
        time.sleep(0.05)
        window = watch.between(start_s, watch.now_s())
        write(tmp_path, {"sys/class/hwmon/hwmon2/oc1_event_cnt": 4})
        throttled = watch.between(start_s, watch.now_s())
    assert window.mean_w == pytest.approx(6.0)
    assert window.flags == () and throttled.flags == ("throttled: over-current",)
    found = watch.conditions()
    assert (found.power.source, found.power.mean_w) == ("ina3221", 6.0)
    assert (found.gpu.clocks_mhz, found.gpu.temperature_c) == ({"sm": 306.0}, 51.25)
    assert (found.jetson.nvpmodel, found.machine.cpu) == ("15W (0)", "ARM Cortex-A78AE")


def test_watch_of_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_facts, "gpu_of", lambda index: Gpu("NVIDIA H200", "sm_90", "580", "13.0", 143771))
    fake = FakeNvml(nvmlDeviceGetTotalEnergyConsumption=None, mig=1)
    opened = Watch(gpu=0, power=True, period_s=0.005, root=tmp_path, open_gpu=lambda i: open_nvml(i, load=fake.load))
    with opened as watch:
        start_s = watch.now_s()
        fake.values["nvmlDeviceGetCurrentClocksThrottleReasons"] = 0x4
        time.sleep(0.05)
        window = watch.between(start_s, watch.now_s())
        fake.values["processes"] = 3
        shared = watch.between(watch.now_s(), watch.now_s())
    assert window.mean_w == pytest.approx(250.0)
    assert window.flags == ("throttled: power cap",)
    assert "disturbed: 2 other processes on the GPU" in shared.flags
    assert "MIG" in watch.conditions().power.more["covers"]
    found = watch.conditions().gpu
    assert (found.clocks_mhz, found.power_limit_w) == ({"sm": 1980, "memory": 3201}, 700.0)
    assert found.throttle == ("power cap",)
    assert fake.opened[-1] == "shutdown"


def test_power_asked_for_in_vain(tmp_path, monkeypatch):
    with pytest.raises(BackendError, match=r"a power sensor.*rapl: no package"):
        Watch(power=True, root=tmp_path).__enter__()
    rapl_tree(tmp_path / "frozen")  # a counter that never moves, as in some virtual machines
    with pytest.raises(BackendError, match="it gave 0 J"):
        Watch(power=True, root=tmp_path / "frozen").__enter__()
    fake = FakeNvml(nvmlDeviceGetTotalEnergyConsumption=None, nvmlDeviceGetPowerUsage=0)
    with pytest.raises(BackendError, match="nvml: it gave 0 J"):
        Watch(gpu=0, power=True, root=tmp_path, open_gpu=lambda i: open_nvml(i, load=fake.load)).__enter__()
    assert fake.opened[-1] == "shutdown"
    assert not [t for t in threading.enumerate() if t.name == "trt-bench sensors"]
    with Watch(root=tmp_path) as watch:  # not asked for: nothing is wrong
        assert watch.between(0.0, watch.now_s()).joule is None
    assert watch.conditions().power is None
    with pytest.raises(InputError, match="sampling period"):
        Watch(period_s=0)


def test_a_sensor_that_breaks_ends_nothing():
    def broken():
        raise ZeroDivisionError("by a sensor")

    with Sampler([broken, lambda: {"x": 1.0}], period_s=0.005) as sampler:
        time.sleep(0.03)
    assert sampler.trouble == "ZeroDivisionError: by a sensor"
    assert all(one["x"] == 1.0 for one in sampler.samples) and len(sampler.samples) >= 3
    sampler.stop()


def test_a_stretch_and_its_neighbours(monkeypatch):
    sampler = Sampler([lambda: {"w": float("nan"), "x": 1.0}])
    assert set(sampler.sample()) == {"t_s", "x"}  # what is no number is no reading
    sampler.samples = [{"t_s": float(t)} for t in range(10)]
    assert [one["t_s"] for one in sampler.between(3.5, 5.0)] == [3, 4, 5, 6]
    assert [one["t_s"] for one in sampler.between(-1.0, 0.5)] == [0, 1]
    assert [one["t_s"] for one in sampler.between(20.0, 30.0)] == [9]
    monkeypatch.setattr("benchmarks.bench.sampler.MOST", 10)
    sampler.sample()
    assert [one["t_s"] for one in sampler.samples[:5]] == [1, 3, 5, 6, 7]  # thinned where it is old


def test_long_runs_are_averaged():
    rows = [{"t_s": float(t), "w": float(t), **({"c": 5.0} if t % 2 else {})} for t in range(1001)]
    kept = thinned(rows, keep=100)
    assert len(kept) == 100
    assert kept[0] == {"t_s": 4.5, "w": 4.5, "c": 5.0}
    assert thinned(rows[:3]) == tuple(rows[:3])
