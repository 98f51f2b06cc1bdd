"""What the paper reports: its numbers, and in our words what its figures show. Plain data.

Source: Abdulsalam & Makin, "Revisiting Contrastive Divergence for Density Estimation and Sample Generation", TMLR 2025.
"""

from typing import NamedTuple

from ebm_tf.settings.train import Scheme

__all__ = ["MALA_ACCEPTANCE", "SHOWS", "TABLE1", "TABLE2", "TITLES", "Row"]


class Row(NamedTuple):
    """One row of Table 1 or Table 2.

    Attributes:
      scheme: where the chains of training started.
      cd_weight: lambda, None but for the hybrid.
      value: the number printed.
      chains: Table 1: "short" (from noise, as many steps as in training), "long" (from noise, 100,000 steps) or "bank"
        (short, from the bank of training).
    """

    scheme: Scheme
    cd_weight: float | None
    value: float
    chains: str = ""


# Sec. 4.2.2. FID on CIFAR-10: lower is better.
TABLE1 = (
    Row(Scheme.DATA, None, 292.0, "short"),
    Row(Scheme.NOISE, None, 42.3, "short"),
    Row(Scheme.PERSISTENT, None, 243.0, "short"),
    Row(Scheme.PERSISTENT_REFRESH, None, 94.0, "short"),
    Row(Scheme.HYBRID, 10.0, 38.7, "short"),
    Row(Scheme.HYBRID, 25.0, 36.8, "short"),
    Row(Scheme.HYBRID, 50.0, 44.5, "short"),
    Row(Scheme.HYBRID, 25.0, 35.3, "long"),
    Row(Scheme.PERSISTENT, None, 40.1, "bank"),
    Row(Scheme.PERSISTENT_REFRESH, None, 35.1, "bank"),
)

# Sec. 4.2.2. AUROC of CIFAR-10 against SVHN: higher is better.
TABLE2 = (
    Row(Scheme.DATA, None, 0.95),
    Row(Scheme.NOISE, None, 0.57),
    Row(Scheme.PERSISTENT, None, 0.68),
    Row(Scheme.PERSISTENT_REFRESH, None, 0.66),
    Row(Scheme.HYBRID, 10.0, 0.75),
    Row(Scheme.HYBRID, 25.0, 0.87),
    Row(Scheme.HYBRID, 50.0, 0.91),
)

MALA_ACCEPTANCE = 0.67  # Sec. 4.2.5, the rate that the step size is adapted to

# Of every artifact, in the paper's order.
TITLES = {
    "fig2": "Fig. 2: the rings, learned densities and samples",
    "fig3": "Fig. 3: samples, CIFAR-10",
    "fig4": "Fig. 4: samples, Oxford Flowers",
    "fig5": "Fig. 5: energies of test images and long-run samples, CIFAR-10",
    "fig6": "Fig. 6: computational losses over training, CIFAR-10",
    "fig7": "Fig. 7: diversity of samples",
    "fig8": "Fig. 8: Metropolis-adjusted chains, CIFAR-10",
    "fig9": "Fig. 9: energy along chains, CIFAR-10",
    "fig10": "Fig. 10: energies of test images and long-run samples, Oxford Flowers",
    "table1": "Table 1: Fréchet distance, CIFAR-10",
    "table2": "Table 2: out-of-distribution detection, CIFAR-10 against SVHN",
}

# Where an artifact stands, and what can be read off it. The figures are pictures without printed numbers.
SHOWS = {
    "fig2": (
        "Sec. 4.1",
        "Rings. data: right density, few chains from noise reach it. noise: chains reach the rings, wrong density. "
        "persistent: better density, poor chains from noise. persistent+refresh: in between, rings unevenly covered. "
        "hybrid: both right.",
    ),
    "fig3": (
        "Sec. 4.2.1",
        "CIFAR-10. data: no images from noise, good ones from data. noise: good short-run images, saturated long-run "
        "ones. persistent: none from noise, good from data. persistent+refresh: poor from noise. hybrid: good in all "
        "three rows.",
    ),
    "fig4": (
        "Sec. 4.2.1",
        "Oxford Flowers. As Fig. 3; persistent+refresh gives images from noise, of one or two modes.",
    ),
    "fig5": (
        "Sec. 4.2.1",
        "CIFAR-10. Long-run samples of the hybrid have energies very close to those of test images, a little above. "
        "The persistent schemes give poor long-run samples energies like those of good images.",
    ),
    "fig6": (
        "Sec. 4.2.3",
        "CIFAR-10. The standard deviation is highest under persistent and lowest under data; both components of the "
        "hybrid are near data's. The signal-to-noise ratio is lowest under persistent and highest in the hybrid's "
        "component from noise.",
    ),
    "fig7": (
        "Sec. 4.2.4",
        "Samples started at the bank (persistent+refresh, Oxford Flowers) closely resemble it. Samples of the hybrid "
        "do not resemble their nearest training images.",
    ),
    "fig8": (
        "Sec. 4.2.5",
        "Hybrid, CIFAR-10. The acceptance rate stays near 0.67; samples after 50,000 adjusted steps resemble the "
        "unadjusted ones.",
    ),
    "fig9": (
        "App. A.2",
        "CIFAR-10. Under noise the energy falls as long as the chain runs; under the four other schemes it settles.",
    ),
    "fig10": ("App. A.4", "Oxford Flowers. As Fig. 5."),
    "table1": (
        "Sec. 4.2.2",
        "FID, lower is better. From noise the hybrid with λ = 25 is best; with λ = 50 it is worse than noise; data and "
        "persistent make no images from noise. After 100,000 steps the hybrid is as good as before. The persistent "
        "schemes reach the hybrid's only from their bank.",
    ),
    "table2": (
        "Sec. 4.2.2",
        "AUROC, higher is better. It rises with λ toward data's; noise is near chance.",
    ),
}
