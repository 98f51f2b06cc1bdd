"""The same networks and Langevin steps in PyTorch, for benchmarks/langevin.py. Imports no TensorFlow.

Written as a PyTorch user would write them: nn.Module, NCHW shapes in channels_last memory, autograd for the gradient.
Weights come from the Keras model, in the order of `model.get_weights()`.
"""

import math

import torch
from torch import nn
from torch.nn import functional

INPUT_SCALE = torch.tensor([10.0] * 3 + [100.0] * 7)  # of ebm_tf.energies.rings_net


class RingsTwin(nn.Module):
    """ebm_tf.energies.RingsNet."""

    def __init__(self, weights, energy_scale):
        super().__init__()
        self.energy_scale = energy_scale
        self.register_buffer("input_scale", INPUT_SCALE)
        pairs = list(zip(weights[::2], weights[1::2]))
        layers = []
        for kernel, bias in pairs:
            layers += [_filled(nn.Linear(*kernel.shape), kernel.T, bias), nn.SiLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.energy_scale * self.layers(self.input_scale * x)[:, 0]


class NonLocalTwin(nn.Module):
    """ebm_tf.energies.attention.NonLocalBlock."""

    def __init__(self, query, key, value, output, bias):
        super().__init__()
        self.query, self.key, self.value = (_conv1x1(kernel) for kernel in (query, key, value))
        self.output = _conv1x1(output, bias)

    def forward(self, x):
        pooled = functional.avg_pool2d(x, 2)
        query, key, value = (
            layer(state).flatten(2).transpose(1, 2)
            for layer, state in ((self.query, x), (self.key, pooled), (self.value, pooled))
        )
        weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]), dim=-1)
        mixed = (weights @ value).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.output(mixed)


class ImageTwin(nn.Module):
    """ebm_tf.energies.ImageNet."""

    def __init__(self, weights, attention):
        super().__init__()
        weights = list(weights)
        layers = [_conv(weights, padding=1), nn.LeakyReLU(0.2)]
        for level in range(3):
            layers += [_conv(weights, stride=2, padding=1), nn.LeakyReLU(0.2)]
            if attention and level < 2:
                layers.append(NonLocalTwin(*[weights.pop(0) for _ in range(5)]))
        layers += [_conv(weights)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x).flatten()


def build_twin(network, weights, device, energy_scale=1.0):
    """The twin of a network's name, its weights copied, on a device."""
    twin = RingsTwin(weights, energy_scale) if network == "rings" else ImageTwin(weights, network.endswith("attention"))
    twin = twin.to(device).requires_grad_(False).eval()
    return twin if network == "rings" else twin.to(memory_format=torch.channels_last)


def energy_and_grad(twin, x, autocast):
    """(energy [B], dE/dx as x), both float32."""
    x = x.detach().requires_grad_(True)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        energy = twin(x)
    return energy.detach().float(), torch.autograd.grad(energy.float().sum(), x)[0].float()


def build_chain(twin, mode, autocast, step_size, temperature):
    """chain(x, num_steps) -> x. mode: eager, or a mode of torch.compile, which compiles the whole step."""
    noise_std = math.sqrt(2 * step_size * temperature)

    def energy_sum(x):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
            return twin(x).float().sum()

    def eager_step(x):
        return x - step_size * energy_and_grad(twin, x, autocast)[1] + noise_std * torch.randn_like(x)

    def pure_step(x):
        return x - step_size * torch.func.grad(energy_sum)(x) + noise_std * torch.randn_like(x)

    step = eager_step
    if mode != "eager":
        options = {} if mode == "compile" else {"mode": mode}
        step = torch.compile(pure_step, fullgraph=True, **options)

    def chain(x, num_steps):
        for _ in range(num_steps):
            # CUDA graphs write every step to the same place: what the next step reads must be a copy.
            x = step(x).clone() if mode in ("max-autotune", "reduce-overhead") else step(x)
        return x

    return chain


def build_torchebm_chain(twin, autocast, step_size, temperature):
    """The same by torchebm.samplers.LangevinDynamics, as its documentation shows it."""
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    device = next(twin.parameters()).device

    class Energy(BaseModel):
        def __init__(self):
            super().__init__(device=device)
            self.twin = twin

        def forward(self, x):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
                return self.twin(x).float()

    # Its update is x - step_size dU/dx + noise_scale sqrt(2 step_size) z.
    sampler = LangevinDynamics(model=Energy(), step_size=step_size, noise_scale=math.sqrt(temperature), device=device)
    return lambda x, num_steps: sampler.sample(x=x, n_steps=num_steps)


def _filled(layer, weight, bias):
    state = {"weight": torch.tensor(weight)} | ({} if bias is None else {"bias": torch.tensor(bias)})
    layer.load_state_dict(state)
    return layer


def _conv(weights, **settings):
    kernel, bias = weights.pop(0), weights.pop(0)
    height, _, channels_in, channels_out = kernel.shape
    layer = nn.Conv2d(channels_in, channels_out, height, **settings)
    return _filled(layer, kernel.transpose(3, 2, 0, 1), bias)


def _conv1x1(kernel, bias=None):
    layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], 1, bias=bias is not None)
    return _filled(layer, kernel.transpose(3, 2, 0, 1), bias)
