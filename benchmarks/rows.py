"""The rows of benchmarks/langevin.py: what a worker builds, checks and times.

TensorFlow and PyTorch are imported late, each by its own rows.
"""

import fnmatch
import importlib
import time

import numpy as np

NETWORKS = {  # name: (event, step_size, temperature), the paper's settings
    "rings": ((10,), 0.001, 0.005),
    "tiny_8_attention": ((32, 32, 3), 1.0, 5e-5),  # to try this program
    "small_16_attention": ((32, 32, 3), 1.0, 5e-5),  # for a CPU
    "image_64": ((32, 32, 3), 1.0, 5e-5),
    "image_64_attention": ((32, 32, 3), 1.0, 5e-5),
    "image_128": ((32, 32, 3), 1.0, 5e-5),
    "image_128_attention": ((32, 32, 3), 1.0, 5e-5),
}
OURS = [f"ours/{dtype}/{mode}" for dtype in ("bfloat16", "tf32") for mode in ("xla", "graph")]
TORCH = [
    f"torch/{dtype}/{mode}"
    for dtype in ("bfloat16", "tf32")
    for mode in ("eager", "compile", "reduce-overhead", "max-autotune")
]
GPU_ROWS = [*OURS, *TORCH, "torchebm/bfloat16/eager", "torchebm/tf32/eager"]
CPU_ROWS = ["ours/float32/xla", "ours/float32/graph", "torch/float32/eager", "torch/float32/compile"]
CPU_ROWS += ["torchebm/float32/eager"]

NUM_CHECKED = 8  # inputs whose energies and gradients are compared with the reference
ENERGY_SCALE = 0.005  # of the rings
WARM_UP_STEPS = 20


class Chain:
    """A compiled, checked and warm chain.

    Attributes:
      ready: what is known before the first timing, for the report.

    Args:
      chain: chain(num_steps) runs and waits for the device.
      ready: errors, GFLOP.
      peak_memory: () -> MiB or None.
    """

    def __init__(self, chain, ready, peak_memory):
        self._chain, self._peak_memory = chain, peak_memory
        start = time.perf_counter()
        chain(1)
        self.ready = {**ready, "compile_s": time.perf_counter() - start}
        chain(WARM_UP_STEPS)
        self._num_steps = None

    def time(self, seconds):
        """Milliseconds per step of one chain that lasts about so many seconds."""
        if self._num_steps is None:
            self._num_steps = max(WARM_UP_STEPS, int(1e3 * seconds / self._once(WARM_UP_STEPS)))
        answer = {"ms_per_step": self._once(self._num_steps)}
        memory = self._peak_memory()
        return answer if memory is None else {**answer, "peak_memory_mib": memory}

    def _once(self, num_steps):
        start = time.perf_counter()
        self._chain(num_steps)
        return (time.perf_counter() - start) / num_steps * 1e3


def reference(patterns):
    """Writes NETWORK.npz with weights, inputs, energies and gradients; returns networks, rows, device and peaks."""
    import tensorflow as tf

    gpus = _gpus(tf)
    if patterns == "auto":
        patterns = "image*" if gpus else "rings"
    networks = [name for name in NETWORKS if any(fnmatch.fnmatch(name, one) for one in patterns.split(","))]
    if not networks:
        raise ValueError(f"expected --networks among {', '.join(NETWORKS)}. Received: {patterns}")
    peaks = {"bfloat16": _peak(tf, tf.bfloat16, 8192), "tf32": _peak(tf, tf.float32, 8192)} if gpus else {}
    peaks = peaks or {"float32": _peak(tf, tf.float32, 2048)}
    with tf.device("CPU"):
        for network in networks:
            model = _model(network, "float32")
            rng = np.random.default_rng(2)
            for variable in model.trainable_variables:  # attention starts at zero: move it
                variable.assign_add(0.02 * rng.standard_normal(variable.shape))
            x = _draw(network, NUM_CHECKED)
            energy, grad = model.energy_and_grad(x)
            weights = {f"weight_{i:02d}": weight for i, weight in enumerate(model.get_weights())}
            np.savez(f"{network}.npz", x=x, energy=energy, grad=grad, **weights)
    device = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else _cpu_name()
    rows = GPU_ROWS if gpus else CPU_ROWS
    return {"networks": networks, "rows": rows, "device": device, "is_cpu": not gpus, "peak_tflops": peaks}


def build(name, network, num_chains):
    """The Chain of one row."""
    framework, dtype, mode = name.split("/")
    saved = np.load(f"{network}.npz")
    weights = [saved[key] for key in sorted(saved.files) if key.startswith("weight")]
    if framework != "ours":
        _require(framework)
    make = {"ours": _ours, "torch": _torch, "torchebm": _torch}[framework]
    energy_and_grad, chain, peak_memory = make(framework, network, weights, dtype, mode, num_chains)
    energy, grad = energy_and_grad(saved["x"])
    ready = {
        "energy_error": _error(energy, saved["energy"]),
        "grad_error": _error(grad, saved["grad"]),
        "gflop_per_step": _gflop(network, weights) * num_chains,
    }
    return Chain(chain, ready, peak_memory)


def _require(module):
    try:
        importlib.import_module(module)
    except ImportError:
        cure = "pip install -r requirements-bench.txt, or --torch_python=PYTHON"
        raise ImportError(f"no {module} here: {cure}") from None


def _ours(framework, network, weights, dtype, mode, num_chains):
    import tensorflow as tf

    from ebm_tf.mcmc.langevin import compile_chain

    gpus = _gpus(tf)
    model = _model(network, f"mixed_{dtype}" if dtype in ("bfloat16", "float16") else "float32")
    model.set_weights(weights)
    event, step_size, temperature = NETWORKS[network]
    compiled = compile_chain(model, event, mode == "xla")
    x_init, seed = tf.constant(_draw(network, num_chains)), tf.constant([1, 2])

    def chain(num_steps):
        return compiled(x_init, num_steps, step_size, temperature, seed)[0].numpy()

    def peak_memory():
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] >> 20 if gpus else None

    both = tf.function(model.energy_and_grad, jit_compile=mode == "xla", autograph=False)
    return lambda x: [value.numpy() for value in both(tf.constant(x))], chain, peak_memory


def _torch(framework, network, weights, dtype, mode, num_chains):
    import torch
    import torch_twins

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    _, step_size, temperature = NETWORKS[network]
    scale = ENERGY_SCALE if network == "rings" else 1.0
    twin, autocast = torch_twins.build_twin(network, weights, device, scale), dtype == "bfloat16"

    def to_device(x):
        x = torch.tensor(x, device=device)
        return x if x.ndim == 2 else x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    if device == "cpu":
        eager = torch_twins.build_chain(twin, "eager", autocast, step_size, temperature)
        _choose_threads(torch, lambda: eager(to_device(_draw(network, num_chains)), 20))
    if framework == "torchebm":
        run = torch_twins.build_torchebm_chain(twin, autocast, step_size, temperature)
    else:
        run = torch_twins.build_chain(twin, mode, autocast, step_size, temperature)

    def energy_and_grad(x):
        energy, grad = torch_twins.energy_and_grad(twin, to_device(x), autocast)
        return energy.cpu().numpy(), (grad if grad.ndim == 2 else grad.permute(0, 2, 3, 1)).cpu().numpy()

    x_init = to_device(_draw(network, num_chains))

    def peak_memory():
        return torch.cuda.max_memory_allocated() >> 20 if device == "cuda" else None

    return energy_and_grad, lambda num_steps: run(x_init, num_steps).cpu(), peak_memory


def _choose_threads(torch, action):
    """PyTorch's default is a thread per core, which can be far slower than one for small products: take the better."""
    times = {}
    for threads in (torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        action()
        start = time.perf_counter()
        action()
        times[time.perf_counter() - start] = threads
    torch.set_num_threads(times[min(times)])


def _model(network, policy):
    import keras

    from ebm_tf.energies import ImageNet, RingsNet

    keras.utils.set_random_seed(1)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if network == "rings":
            return RingsNet(64, ENERGY_SCALE)
        return ImageNet(int(network.split("_")[1]), network.endswith("attention"))
    finally:
        keras.config.set_dtype_policy(previous)


def _draw(network, number):
    scale = 0.1 if network == "rings" else 1.0
    return (scale * np.random.default_rng(3).standard_normal((number, *NETWORKS[network][0]))).astype(np.float32)


def _gflop(network, weights):
    """GFLOP of E and dE/dx of one chain as the network is written: two products per weight and position, twice."""
    products, positions = 0, 1 if network == "rings" else 32 * 32
    for weight in weights:
        if weight.ndim == 2 or (weight.ndim == 4 and weight.shape[0] == 3):
            products += positions * weight.size
        elif weight.ndim == 4 and weight.shape[0] == 4:
            positions = positions // 4 if weight.shape[-1] > 1 else 1
            products += positions * weight.size
        elif weight.ndim == 4 and weight.shape[2] < weight.shape[3]:  # attention's output, and its products q k, w v
            products += positions * (weight.size + 2 * (positions // 4) * weight.shape[2])
        elif weight.ndim == 4:  # query, key and value, of which two are pooled
            products += positions * weight.size // 2
    return 4e-9 * products


def _gpus(tf):
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


def _peak(tf, dtype, size):
    """TFLOP/s of a size x size x size product."""
    a = tf.cast(tf.random.stateless_normal([size, size], [1, 2]), dtype)
    b = tf.cast(tf.random.stateless_normal([size, size], [3, 4]), dtype)
    product = tf.function(lambda a, b: a @ b, jit_compile=size == 8192)  # on a CPU Eigen's is faster
    product(a, b)[0, 0].numpy()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(10):
            c = product(a, b)
        c[0, 0].numpy()
        times.append((time.perf_counter() - start) / 10)
    return round(2e-12 * size**3 / sorted(times)[2], 2)


def _error(value, expected):
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def _cpu_name():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else "CPU"
