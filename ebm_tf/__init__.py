"""Energy-based models trained with contrastive divergence, noise-initialised chains, or both at once.

A TensorFlow and Keras implementation of "Revisiting Contrastive Divergence for Density Estimation and Sample
Generation" (Abdulsalam & Makin, TMLR 2025). The subpackages, in the order of reading:

- `ebm_tf.config`: every setting once.
- `ebm_tf.energies`: networks that give an energy E(x) per input.
- `ebm_tf.mcmc`: Langevin chains as pure functions of (energy_fn, state, seed).
- `ebm_tf.training`: Algorithm 1, and the Keras model around it.
- `ebm_tf.data`: the rings of App. A.1, and images.
- `ebm_tf.evaluation`: what a trained model is worth.

Nothing is imported here, so `import ebm_tf` costs nothing.
"""

__version__ = "0.1.0"
