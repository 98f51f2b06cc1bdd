"""A data set in memory with the members of ebm_tf.Dataset that training reads."""

import numpy as np
import tensorflow as tf


class InMemory:
    """Vectors [N, D], standardised, or images [N, H, W, C] in [-1, 1]; the last tenth is held out."""

    def __init__(self, x, name="made_up"):
        x, self.name = np.asarray(x, np.float32), name
        self.event_shape, self.is_image = x.shape[1:], x.ndim == 4
        count = len(x) - len(x) // 10
        if not self.is_image:
            self.mean, self.scale = x[:count].mean(axis=0), x[:count].std(axis=0)
            x = (x - self.mean) / self.scale
        self._train, self._held_out = x[:count], x[count:]

    def batches(self, batch_size, seed, start_step=0):
        x = tf.constant(self._train)

        def batch(step):
            folded = tf.random.experimental.stateless_fold_in(tf.constant([seed, 3]), tf.cast(step, tf.int32))
            indices = tf.random.stateless_uniform([batch_size], folded, 0, len(self._train), tf.int32)
            return tf.gather(x, indices)

        return tf.data.Dataset.counter(start_step).map(batch)

    def examples(self, most=None):
        rest = self._train[:most]
        for start in range(0, len(rest), 1024):
            yield rest[start : start + 1024]

    def held_out(self, most=None):
        return self._held_out[:most]
