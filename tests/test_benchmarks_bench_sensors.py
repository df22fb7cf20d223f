"""Sensors against fake trees and a fake NVML: units, rails that count, counters that wrap, what is not offered."""

import pytest
from fake_sensors import FakeNvml, jetson_tree, rapl_tree, write

from benchmarks.bench.cpu_power import Rapl
from benchmarks.bench.jetson import JetsonSensors, jetson_of
from benchmarks.bench.nvml import open_nvml, throttle_names
from benchmarks.bench.processor_time import ProcessorTime
from sdk.errors import BackendError


def test_nvml_in_units():
    fake = FakeNvml()
    sensors = open_nvml(1, load=fake.load)
    assert fake.opened == ["init", b"0000:3b:00.0"]  # found by its bus, not by its number
    assert sensors.read() == {
        "gpu_w": 250.0,
        "gpu_j": 1000.0,
        "sm_mhz": 1980,
        "memory_mhz": 3201,
        "gpu_c": 41,
        "throttle": 0,
        "gpu_used_mib": 3.0,
        "gpu_processes": 1,
    }
    assert sensors.facts() == {
        "name": "NVIDIA H200",
        "driver": "580.65.06",
        "memory_mib": 141 * 1024,
        "power_limit_w": 700.0,
        "mig": False,
    }
    sensors.close()
    sensors.close()
    assert fake.opened[-1] == "shutdown" and fake.opened.count("shutdown") == 1
    assert sensors.read() == {} and sensors.processes() is None


def test_nvml_leaves_out_what_is_not_offered():
    fake = FakeNvml(nvmlDeviceGetPowerUsage=None, nvmlDeviceGetTotalEnergyConsumption=None)
    fake.values.pop("nvmlDeviceGetTemperature")  # a library without the function
    fake.bus = None  # and no CUDA driver library
    sensors = open_nvml(0, load=fake.load)
    assert fake.opened[-1] == 0
    assert set(sensors.read()) == {"sm_mhz", "memory_mhz", "throttle", "gpu_used_mib", "gpu_processes"}


def test_nvml_that_is_not_there():
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(BackendError, match="libnvidia-ml"):
        open_nvml(0, load=absent)
    fake = FakeNvml()
    fake.bus = None
    with pytest.raises(BackendError, match="cuda:7"):
        open_nvml(7, load=fake.load)
    assert fake.opened[-1] == "shutdown"
    with pytest.raises(BackendError, match="a library of that name"):
        open_nvml(0, load=lambda name: object())


def test_throttle_reasons():
    assert throttle_names(0x1 | 0x2 | 0x100) == ()  # idle, set by a user, display
    assert throttle_names(0x4 | 0x40) == ("power cap", "thermal, hardware")


def test_jetson_with_one_whole_rail(tmp_path):
    rails = (("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 400), ("NC", 0, 0))
    sensors = JetsonSensors(jetson_tree(tmp_path, rails=rails))
    assert sensors.rails == ("VDD_IN", "VDD_CPU_GPU_CV")
    assert sensors.read() == {
        "rail_VDD_IN_w": 6.0,
        "rail_VDD_CPU_GPU_CV_w": 2.0,
        "board_w": 6.0,
        "sm_mhz": 306.0,
        "gpu_c": 51.25,
        "throttle_events": 3.0,
        "cooling": 0.0,  # a fan that turns is no throttling
    }
    write(tmp_path, {"sys/class/thermal/cooling_device1/cur_state": 4})
    assert sensors.read()["cooling"] == 1.0


def test_jetson_whose_rails_add_up(tmp_path):
    rails = (("VDD_GPU_SOC", 20000, 500), ("VDD_CPU_CV", 20000, 100), ("VIN_SYS_5V0", 5000, 800))
    sensors = JetsonSensors(jetson_tree(tmp_path, rails=rails, model="NVIDIA Jetson AGX Orin Developer Kit"))
    assert sensors.read()["board_w"] == pytest.approx(10 + 2 + 4)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").write_text("not a number")
    assert sensors.read()["board_w"] == pytest.approx(6)


def test_jetson_facts(tmp_path):
    found = jetson_of(jetson_tree(tmp_path))
    assert found.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (found.jetpack, found.nvpmodel, found.jetson_clocks) == ("6.2 (L4T 36.4.3)", "15W (0)", False)
    write(tmp_path, {"sys/class/devfreq/17000000.gpu/min_freq": "624750000"})
    assert jetson_of(tmp_path).jetson_clocks is True
    write(tmp_path, {"sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": 1,
                     "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": 2})  # fmt: skip
    assert jetson_of(tmp_path).jetson_clocks is False
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    assert jetson_of(tmp_path).nvpmodel is None


def test_no_jetson(tmp_path):
    assert jetson_of(tmp_path) is None and JetsonSensors(tmp_path).read() == {}
    write(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5"})
    assert jetson_of(tmp_path) is None


def test_rapl_counts_package_and_memory_and_unwraps(tmp_path):
    rapl = Rapl(rapl_tree(tmp_path, joule=100.0, limit_joule=200.0))
    assert rapl.zones == ("package-0", "dram")
    assert rapl.read() == {"cpu_j": 0.0}
    rapl_tree(tmp_path, joule=150.0, limit_joule=200.0)
    assert rapl.read() == {"cpu_j": 100.0}  # 50 of each
    rapl_tree(tmp_path, joule=10.0, limit_joule=200.0)  # wrapped round at 200
    assert rapl.read()["cpu_j"] == pytest.approx(100 + 2 * 60)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("")
    assert rapl.read() == {}


def test_rapl_that_is_not_there_or_locked(tmp_path, monkeypatch):
    with pytest.raises(BackendError, match="virtual machines"):
        Rapl(tmp_path)
    rapl_tree(tmp_path)
    monkeypatch.setattr("os.access", lambda *ignored: False)  # permissions do not bind root, which tests may be
    with pytest.raises(BackendError, match="chmod"):
        Rapl(tmp_path)


def test_processor_time(tmp_path):
    write(tmp_path, {"proc/stat": "cpu  100 20 30 9000 7 5 5 40 0 0\ncpu0 1 1\n",
                     "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 2,
                     "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 2_400_000})  # fmt: skip
    found = ProcessorTime(tmp_path).read()
    assert (found["busy_s"], found["steal_s"]) == (1.6, 0.4)  # ticks of 10 ms
    assert (found["cpu_throttle"], found["cpu_mhz"]) == (2, 2400.0)
    assert found["own_s"] > 0
    assert set(ProcessorTime(tmp_path / "none").read()) == {"own_s"}
