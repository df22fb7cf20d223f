"""Settings for every test."""

import signal
import sys

import pytest

MAX_TORCH_THREADS = 2  # more only slows the small networks of the tests down, and a shared machine with them


@pytest.fixture(autouse=True)
def few_torch_threads():
    """Bound torch's threads without importing torch into tests that do not use it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > MAX_TORCH_THREADS:
        torch.set_num_threads(MAX_TORCH_THREADS)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """`nohup make test &` starts us with SIGINT ignored, and what we start with it: some tests send it to either."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a child has the default then
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def same_backend_everywhere(request, monkeypatch):
    """ "auto" is onnxruntime in the tests, on machines with a GPU too: they compare numbers with bare sessions."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("FACETRT_BACKEND", "onnxruntime")


@pytest.fixture
def face_pack(tmp_path):
    """A tiny archive in the documented format: 12 drawn faces of 160 px with exact points, in two splits."""
    cv2, np = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    rng = np.random.default_rng(5)
    root = tmp_path / "faces68_made"
    (root / "img").mkdir(parents=True)
    angle = np.linspace(0.2, np.pi - 0.2, 17)
    ids, points, lines = [], [], ["id,file,split,w,h"]
    for number in range(12):
        centre = np.array([80.0, 75.0]) + rng.uniform(-4, 4, 2)
        shape = rng.uniform(-1, 1, (68, 2)) * 35.0
        shape[:17] = np.stack([-45 * np.cos(angle), 55 * np.sin(angle)], axis=1)
        shape[36], shape[45] = (-28.0, -12.0), (28.0, -12.0)
        found = (shape + centre).astype(np.float32)
        picture = np.full((160, 160, 3), rng.integers(30, 90, 3), np.uint8)
        cv2.ellipse(picture, tuple(int(c) for c in centre), (45, 58), 0, 0, 360, (120, 150, 200), -1, cv2.LINE_AA)
        for x, y in found:
            cv2.circle(picture, (round(float(x)), round(float(y))), 3, (20, 20, 40), -1, cv2.LINE_AA)
        name = f"face_{number:02d}"
        cv2.imwrite(str(root / "img" / f"{name}.png"), picture)
        ids.append(name)
        points.append(found)
        lines.append(f"{name},img/{name}.png,{'val' if number % 3 == 0 else 'train'},160,160")
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    np.savez(root / "landmarks.npz", id=np.array(ids), pts68=np.stack(points))
    return root
