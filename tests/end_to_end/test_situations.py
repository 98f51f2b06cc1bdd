"""Situations of real users, from public reports: what was tried, and what is right. The table comes first.

Each row names the test that shows it: one below, or FILE::TEST of another file, seen from here. "fine" rows were right when
tried; their test is the nearest one.
"""
# ruff: noqa: E501  a table has a row a line

import ast
import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ebm_tf
from ebm_tf.cli import flags, native_stderr
from ebm_tf.data import arrays, images
from ebm_tf.energies import devices
from ebm_tf.energies.files import load_energy
from ebm_tf.errors import ConfigError, UnusableError
from ebm_tf.evaluation import tasks
from ebm_tf.evaluation.detection import ood
from ebm_tf.evaluation.features import fid, neighbours
from ebm_tf.evaluation.finished import FinishedRun, load_run, range_bound
from ebm_tf.evaluation.sampling import sample
from ebm_tf.mcmc import diagnostics
from ebm_tf.runs.partial import PartialArrays
from ebm_tf.runs.run_dir import RunDir
from ebm_tf.serving import calibrate, score
from ebm_tf.serving import export as exporting
from ebm_tf.serving.export import export
from ebm_tf.serving.info import read_info
from ebm_tf.serving.sources import inputs
from ebm_tf.serving.sources.kinds import kind_of
from ebm_tf.serving.sources.layout import RangeSeen
from ebm_tf.serving.trained import load_exported
from ebm_tf.settings.commands import EvaluateConfig, ExportConfig, SampleConfig, resolve
from ebm_tf.settings.scoring import CalibrateConfig, ScoreConfig
from ebm_tf.settings.train import TrainConfig
from ebm_tf.stats import drift, usable
from tests import processes
from tests.house.test_statements import rows, written

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("EBM_TF_DATA", ROOT.parent / "shared" / "tfds"))


class Situation(NamedTuple):
    """A row: its number in the report (with a letter: another input of the kind), what was tried, what is right."""

    row: str
    situation: str
    command: str
    expected: str
    shown_by: str


# fmt: off
TABLE = [
    Situation("1", "all samples are NaN, then fid", "evaluate --tasks=short_run,fid --step_size=1e30 --num_steps=20", "exit 1, no FD; results.json: num_usable 0", "test_samples_all_not_finite_have_no_distance"),
    Situation("1a", "one sample of five is NaN, kept as uint8", "evaluate --tasks=fid", "FD of the other four; num_not_finite 1, also in the line", "test_samples_not_finite_are_left_out"),
    Situation("1b", "the same, float samples of mala", "evaluate --tasks=fid --fid_samples=mala", "as 1a", "test_samples_not_finite_are_left_out"),
    Situation("1c", "the same, neighbours", "evaluate --tasks=neighbours", "four samples; num_not_finite 1, and a line", "test_neighbours_leave_out_what_is_not_finite"),
    Situation("2", "TF_CONFIG with one worker", "train --strategy=multi_worker", "trains, as with mirrored", "test_multi_worker.py::test_a_cluster_of_one_trains_as_one_host_does"),
    Situation("2a", "one of two workers does not come", "train --strategy=multi_worker", "a line says who is awaited, and for how long", "test_multi_worker.py::test_a_worker_that_does_not_come_is_named"),
    Situation("3", "a linked folder, a dead link, a link in a circle, a file without an ending", "score --input=FOLDER", "links are followed; what is left out is counted, with a name", "../unit/test_decode.py::test_a_walk_follows_links_and_says_what_it_leaves_out"),
    Situation("3a", "four files of six that are no pictures", "evaluate --ood_data=FOLDER", "how many, and the first three", "../unit/test_data_sources.py::test_unreadable_images_are_named_at_once"),
    Situation("3b", "two of three", "train --dataset=folder:PATH", "how many, and their names, before training", "../unit/test_dataset.py::test_an_unreadable_file_is_named_before_training"),
    Situation("4", "one JPEG as input", "score --input=one.jpg", "one row", "test_inputs_are_found_by_their_content"),
    Situation("4a", "a pattern of images", "score --input='photos/*.png'", "a row per image", "test_inputs_are_found_by_their_content"),
    Situation("4b", "an image without an ending", "score --input=picture", "one row", "test_inputs_are_found_by_their_content"),
    Situation("4c", "an array called x.dat; TFRecords called part-0", "score --input=x.dat", "read as what they are", "test_inputs_are_found_by_their_content"),
    Situation("4d", "a zip of photos, a text, a .keras file, a pattern with a text in it", "score --input=p.zip [--skip_bad]", "exit 2, nothing written", "test_other_files_are_refused_before_anything_is_written"),
    Situation("5", "EXIF orientation, grey of 16 bits, CMYK, alpha: as files, TFRecords, TFDS", "score, train", "the same pixels from every source", "../unit/test_decode.py::test_all_sources_give_the_same_pixels"),
    Situation("5a", "the same, against what the file stands for", "decode", "its pixels", "../unit/test_decode.py::test_pixels_are_what_the_file_stands_for"),
    Situation("6", "chains far too long a step, all of them lost", "sample --step_size=1e30", "exit 1, what share is not finite", "test_sample_of_lost_chains_fails"),
    Situation("6a", "short_run whose pixels are in the thousands", "evaluate --tasks=short_run --step_size=1000", "out_of_range_share, num_usable 0, exit 1", "test_pixels_in_the_thousands_are_told"),
    Situation("6b", "load(M).sample with ends out of range or NaN", "load(M).sample(4)", "a warning with counts", "test_the_api_warns_of_samples"),
    Situation("6c", "white noise, and images with the noise of training", "usable.measure", "usable", "test_usable_is_what_it_says"),
    Situation("7", "5 of 100 chains stand still", "diagnose, verdict", "not settled: 5 of 100 chains are stuck", "test_stuck_chains_are_in_the_verdict"),
    Situation("7a", "one of 100 stands still; or from the middle on", "diagnose, verdict", "not settled", "test_stuck_chains_are_in_the_verdict"),
    Situation("7b", "a chain that accepts 1 % of the others' moves", "verdict(..., num_accepted)", "not settled", "test_stuck_chains_are_in_the_verdict"),
    Situation("7c", "one of 100 long chains stands still, in long_run's verdict", "drift.verdict", "converged false, num_stuck 1", "test_a_stuck_long_chain_is_in_the_verdict"),
    Situation("8", "one set as 32x32, the same as 64x64 PNG", "evaluate --tasks=ood", "a warning with counts", "test_unequal_resizing_is_told"),
    Situation("8a", "both resized, from 48 and from 128 pixels", "evaluate --tasks=ood", "a warning", "test_unequal_resizing_is_told"),
    Situation("8b", "both 32x32, or both from 64", "evaluate --tasks=ood", "no warning", "test_unequal_resizing_is_told"),
    Situation("8c", "calibrated on 32x32, scored on 64x64", "calibrate, score", "a warning", "test_scores_against_a_calibration_of_other_sizes_are_told"),
    Situation("9", "one 12,000 x 9,000 JPEG; one beyond the limit", "score --input=FOLDER", "read; an error that says it is too large", "../unit/test_decode.py::test_a_photograph_of_108_million_pixels_is_read_and_a_bomb_is_not"),
    Situation("9a", "a large JPEG for small images", "decode", "decoded at a smaller scale", "../unit/test_decode.py::test_a_large_jpeg_is_decoded_at_a_smaller_scale"),
    Situation("10", "tensorboard cannot be imported", "train", "one warning, and the run goes on", "test_tensorboard.py::test_without_tensorboard_a_run_says_so_once_and_goes_on"),
    Situation("10a", "a start that fails", "train", "leaves no folder behind", "test_survival.py::test_a_start_that_fails_leaves_the_place_as_it_was"),
    Situation("11", "no fcntl, as on Windows", "train", "the run trains", "../install/test_windows.py::test_a_run_trains"),
    Situation("11a", "two processes in one folder there", "train", "the second is refused", "../install/test_windows.py::test_the_lock_of_windows_holds_and_goes_with_its_process"),
    Situation("12", "a run that stopped at update 88", "sample, evaluate, export, load", "the line has the command that finishes it", "test_an_unfinished_run_says_what_finishes_it"),
    Situation("12a", "with stages, a flag that is off by default, and a folder with a blank", "load_run", "the command parses to the run's settings", "test_an_unfinished_run_says_what_finishes_it"),
    Situation("13", "uint8 [6, 32, 32], [6, 32, 32, 1], channels first, [32, 32, 3] alone", "energy, score", "read, and said in one line", "test_layouts_that_are_unambiguous_are_read"),
    Situation("13a", "[1, 32, 32], [32, 32], [3, 32, 32, 3], floats [6, 32, 32]", "energy", "read", "test_layouts_that_are_unambiguous_are_read"),
    Situation("13b", "[3, 32, 32]: three grey images, or one with its channels first", "energy, score", "refused", "test_layouts_that_are_not_are_refused"),
    Situation("13c", "[6, 32, 32, 2], [32], five axes, no image at all", "energy", "refused", "test_layouts_that_are_not_are_refused"),
    Situation("14", "a finished run that is read-only, a task that is done", "evaluate --workdir=RUN", "exit 0, nothing written", "test_what_is_done_is_not_written"),
    Situation("14a", "the same, a task that is not done", "evaluate --workdir=RUN --output=DIR", "results in DIR, none in RUN", "test_results_go_elsewhere"),
    Situation("14b", "a task that reads one that RUN has done", "evaluate --tasks=fid --output=DIR", "it is read from RUN", "test_results_go_elsewhere"),
    Situation("15", "no samples", "load(M).sample(0)", "float32 [0, 32, 32, 3]", "test_documented_limits_hold"),
    Situation("15a", "no inputs; no steps", "load(M).energy(x[:0]), sample(2, num_steps=0)", "float32 [0]; the noise", "test_documented_limits_hold"),
    Situation("15b", "batch_size=0, num_samples=2.5, seed=-1", "load(M)", "ValueError that says what was expected", "test_documented_limits_hold"),
    Situation("15c", "no draws", "rings.sample(0), rings.log_prob(x[:0])", "[0, 10], [0]", "test_documented_limits_hold"),
    Situation("16", "a flag that this command has not", "export --clamp=F, train --clamp", "the command's flags", "test_only_near_flags_are_suggested"),
    Situation("16a", "slips of a letter", "train --sceme --batchsize, export --outptu", "the near one", "test_only_near_flags_are_suggested"),
    Situation("16b", "-h of a command", "score -h", "its help", "../config/test_flags.py::test_help_marks_what_is_required_and_may_be_read_in_part"),
    Situation("fine", "--no-resume, --resume=maybe, --num_step, --=3", "train, sample", "one line each", "test_only_near_flags_are_suggested"),
    Situation("10c", "a tensorboard that is broken (a TypeError of protobuf)", "train", "as 10", "test_tensorboard.py::test_without_tensorboard_a_run_says_so_once_and_goes_on"),
    Situation("17", "slices of SVHN", "evaluate --ood_data=svhn_cropped/test[:400]", "so many images", "test_svhn_has_slices"),
    Situation("17a", "test[50%:], test[:2]+test[3:4]; train[:4]", "images.count", "read; refused", "test_svhn_has_slices"),
    Situation("18", "a remapper line of TensorFlow at exit 0", "sample on a CPU", "no such line", "test_a_command_leaves_stderr_to_errors"),
    Situation("18a", "lines of a crash, of another error, without an end", "native_stderr", "all are passed on", "test_only_harmless_lines_are_dropped"),
    Situation("19", "docs/serving.md on sample", "docs", "what the code does", "test_serving_docs_say_what_the_code_does"),
    Situation("19a", "defaults that pages name, in words and in tables of a flag's values", "docs", "those of the flags", "../house/test_statements.py::test_defaults_are_those_of_the_flags"),
    Situation("19b", "files that a command is said to write", "docs", "those it writes", "../house/test_statements.py::test_a_run_has_the_files_that_the_pages_name"),
    Situation("19f", "columns of metrics.jsonl", "docs", "those of a run", "test_train.py::test_every_promised_file_is_there"),
    Situation("19c", "inputs, outputs and types of signatures", "docs", "those of the export", "test_serving_docs_say_what_the_code_does"),
    Situation("19d", "the table of tasks, its numbers, and which of them take a file", "docs", "those of the tasks", "../house/test_statements.py::test_tasks_stand_with_their_numbers"),
    Situation("19e", "columns of a table of scores; what reproduce makes", "docs", "those of the code", "../house/test_statements.py::test_columns_are_those_of_the_table"),
    Situation("20", "floats in [0, 1] or 0 to 255 where [-1, 1] is expected", "score", "said in one line", "test_floats_of_another_range_are_told"),
    Situation("20b", "the same", "calibrate", "refused", "test_calibrate.py::test_bad_input_is_one_line_and_changes_nothing"),
    Situation("20a", "the same in Python; floats in [-1, 1], zeros", "load(M).energy(x)", "a warning; none", "test_the_api_warns_of_another_range"),
    Situation("fine", "long chains that are all lost", "evaluate --tasks=long_run --step_size=1e30", "exit 1; num_usable 0", "test_samples_all_not_finite_have_no_distance"),
    Situation("fine", "one sample, one step", "evaluate --tasks=short_run --num_samples=1", "its numbers", "test_settings_at_their_limits"),
    Situation("2b", "TF_CONFIG cut short, null, without task, with a chief, a port of 0 or 65536, no host, one address twice, an object of workers, index 0.5", "train --strategy=multi_worker", "refused in one line, nothing written", "test_multi_worker.py::test_a_tf_config_that_cannot_be_used_is_refused"),
    Situation("fine", "a host that no name server knows", "train --strategy=multi_worker", "it is named as awaited", "test_multi_worker.py::test_a_worker_that_does_not_come_is_named"),
    Situation("fine", "TF_CONFIG of another program, without multi_worker", "train", "not read", "test_multi_worker.py::test_a_cluster_of_one_trains_as_one_host_does"),
    Situation("3c", ".ipynb_checkpoints, .cache, .DS_Store", "score --input=FOLDER", "left out, counted", "../unit/test_decode.py::test_a_walk_follows_links_and_says_what_it_leaves_out"),
    Situation("3d", "a folder of HEIC, or with nothing but a dead link", "score --input=FOLDER", "refused; says what was left out", "test_a_folder_without_images_says_what_it_holds"),
    Situation("fine", "names of 254 letters, with blanks, umlauts; a zero-byte PNG; an empty folder; a pipe called x.png; the input a link", "score --input=FOLDER", "rows; an error in the row; left out, counted", "../unit/test_decode.py::test_a_walk_follows_links_and_says_what_it_leaves_out"),
    Situation("4e", "a pattern with **; a name with brackets; an array called y.png; a WebP without an ending", "score --input='**/*.png'", "read", "test_inputs_are_found_by_their_content"),
    Situation("4f", "a pipe, /dev/null", "score --input=PIPE", "refused at once", "test_a_pipe_is_no_input"),
    Situation("4g", "an array called x.dat or X.NPY", "train --dataset=array:x.dat", "read", "test_arrays_to_learn_are_found_by_their_content"),
    Situation("fine", "a web page called x.jpg; an .npz of a text; an empty .npy; a pickle; x.npy.gz; HEIC; TFRecords by ZLIB", "score", "one line, or a row with an error", "test_other_files_are_refused_before_anything_is_written"),
    Situation("5b", "WebP turned by EXIF; TIFF by LZW; APNG; a palette with a transparent colour", "decode", "its pixels, the first picture, on white", "../unit/test_decode.py::test_pixels_are_what_the_file_stands_for"),
    Situation("fine", "PNG and TIFF turned by EXIF, LAB, AVIF, JPEG 2000, ICO; floats in a TIFF", "score", "the same pixels; the last an error in its row", "../unit/test_decode.py::test_pixels_are_what_the_file_stands_for"),
    Situation("6d", "steps and T of 0, below 0, NaN, inf; no samples; batches of 0; a seed of 2^31", "sample", "refused in one line", "test_settings_out_of_range_are_refused"),
    Situation("6e", "a step of 1e-30, T = 0, T = 1e30, no steps, batches above N", "sample", "samples; those out of range are told", "test_settings_at_their_limits"),
    Situation("6f", "vectors far beyond their data", "sample --step_size=1e20", "exit 1", "test_vectors_beyond_all_data_cannot_be_used"),
    Situation("7d", "all long chains stand still, or most", "long_run --step_size=1e-30", "not settled", "test_a_stuck_long_chain_is_in_the_verdict"),
    Situation("7e", "long chains of one or two steps", "long_run --long_run_steps=1", "undecided", "test_a_stuck_long_chain_is_in_the_verdict"),
    Situation("7f", "60 of 100 stand still", "diagnose", "60 are counted", "test_stuck_chains_are_in_the_verdict"),
    Situation("7g", "one chain; fewer than eight records; a chain with NaN; two chains", "diagnose", "refused, refused, refused, a verdict", "../law/test_diagnostics.py::test_bad_records_are_refused"),
    Situation("fine", "a set of mixed sizes; smaller images; a damaged one; array:FILE", "evaluate --tasks=ood", "a warning with counts", "test_unequal_resizing_is_told"),
    Situation("fine", "64x32 for a model of 32x32; slices of TFDS", "evaluate --tasks=ood", "cropped, not scaled: no warning", "test_unequal_resizing_is_told"),
    Situation("fine", "a grey JPEG and a PNG of 20,000 x 20,000; 1 x 60,000; one pixel", "score", "read by a draft; an error; read; read", "../unit/test_decode.py::test_a_photograph_of_108_million_pixels_is_read_and_a_bomb_is_not"),
    Situation("10b", "Keras set to JAX or PyTorch; MPLBACKEND without a screen; no HOME, LANG=C", "sample", "works", "test_a_command_leaves_stderr_to_errors"),
    Situation("fine", "a folder that cannot be made, a disk of 1 MiB", "train, sample, evaluate, export", "one line; an export leaves nothing", "test_disk.py::test_an_export_is_whole_or_not_there"),
    Situation("11b", "a path with ~, which a shell leaves in --workdir=~/run", "train, sample, load", "the home folder", "test_the_home_folder_is_meant_by_its_sign"),
    Situation("11c", "a file of flags of Windows: CRLF, a byte order mark; UTF-16", "sample --flagfile", "read, read, refused", "../config/test_flags.py::test_a_file_of_flags_of_windows"),
    Situation("12b", "model.keras cut short or empty", "sample, load", "says that it is damaged", "test_a_model_cut_short_is_told"),
    Situation("fine", "config.json cut short or missing; a file as --workdir; a run or an export as --model", "sample", "one line", "test_hostile_inputs.py::test_config"),
    Situation("fine", "RGBA, whole numbers, truth values, uint16, complex; no images; flattened ones", "score", "refused", "test_layouts_that_are_not_are_refused"),
    Situation("fine", "float16, big-endian, in Fortran's order; one vector", "score", "read", "test_layouts_that_are_unambiguous_are_read"),
    Situation("14c", "two exports to one folder", "export", "one writes, one line says so", "test_two_exports_to_one_folder"),
    Situation("fine", "two of sample, or of score, to one place", "sample, score", "whole files; the second score refused", "test_score.py::test_a_broken_run_goes_on"),
    Situation("fine", "a read-only file system; a file as --output", "sample, export, score, evaluate", "one line", "test_export.py::test_bad_input_writes_nothing"),
    Situation("fine", "lists, tensors, other strides; NaN; texts, None, ragged lists", "load(M).energy", "energies; NaN; ValueError", "test_documented_limits_hold"),
    Situation("fine", "--num_samples=1e1, 2.0, nothing; 0,5; -num_samples=2; num_samples=2; a dash too long; a flag twice", "sample", "one line each; absl's rules", "test_hostile_inputs.py::test_numbers"),
    Situation("17b", "test[5:2], test[:0], test[20000:]", "score, train, evaluate", "refused: no examples", "test_splits_without_examples_are_refused"),
    Situation("fine", "test[-5:], test[10%:20%], train+test, all; test[::2], test[abc], TEST, nosuch/test", "evaluate --ood_data", "read; refused", "test_svhn_has_slices"),
    Situation("20c", "floats from 0 to 65535", "score", "told, and not taken for [0, 255]", "test_the_words_on_a_range"),
    Situation("20d", "standardised floats, [-128, 127], inf; zeros", "score", "told, told, errors; nothing", "test_the_words_on_a_range"),
    Situation("gpu", "another program holds all but 0.7 GiB of an H200 (a traceback there, before)", "train", "one line: nvidia-smi says which", "test_survival.py::test_a_gpu_that_another_program_fills_is_told"),
    Situation("gpu", "the same, while a .keras file is read (the file was blamed there, before)", "load, sample, export, evaluate --model", "as above", "test_survival.py::test_a_gpu_that_another_program_fills_is_told"),
    Situation("gpu", "a batch of 50,000 on an H200, or of 2,000 with 4 GiB free: no word there for one or two minutes, until SIGKILL", "train --batch_size=50000", "a warning before it: what is needed, what is free, what to try", "test_survival.py::test_a_gpu_that_another_program_fills_is_told"),
    Situation("gpu", "what nvidia-smi says of two GPUs, nothing, no number", "train", "their sum, unknown, unknown", "test_survival.py::test_free_memory_is_what_nvidia_smi_says"),
    Situation("gpu", "chains or inputs that a device has no memory for, by errors of TensorFlow, XLA and cuDNN (tracebacks, before)", "evaluate, sample, score", "exit 1; the line has --batch_size, how many at once, half of it", "test_want_of_memory_names_the_batch"),
    Situation("gpu", "a full disk, a missing file, a GPU that another program fills", "evaluate", "not taken for it", "test_what_is_want_of_memory_and_what_is_not"),
    Situation("14d", "a second score --resume, or score, while the first is at work; or just done", "score", "refused, nothing changed", "test_score.py::test_two_that_write_one_table"),
    Situation("7h", "a long chain whose energy changes in its last digits, or by a thousandth of the others'; all chains so", "long_run", "not settled", "test_a_stuck_long_chain_is_in_the_verdict"),
    Situation("18b", "float16 on a CPU without AVX-512; TF_DETERMINISTIC_OPS=1", "sample, train", "no line of oneDNN's or tf.data's", "test_only_harmless_lines_are_dropped"),
    Situation("18c", "Keras 3.15, which warns of shuffle=True", "train", "no warning", "test_fit_shuffles_no_batches"),
    Situation("gpu", "a batch of 4,000 on 2.5 GiB of an H200: 400 letters of files, and no reason, in the line of training by XLA (69 s)", "train --batch_size=4000", "batch, chains, numbers to try, the reason", "test_what_is_want_of_memory_and_what_is_not"),
    Situation("gpu", "a batch of 4,000, of which 8 GiB are free on an H200", "train --batch_size=4000", "the warning came: 12.5 GiB are needed", "test_survival.py::test_a_gpu_that_another_program_fills_is_told"),
    Situation("gpu", "Ctrl-C while XLA compiles: its ptxas ends too (a traceback there, before)", "train", "one line, exit 130", "test_signals.py::test_a_signal_that_ends_xlas_compiler_too"),
    Situation("gpu", "the same seed twice without TF_DETERMINISTIC_OPS", "train", "not the same bits; studies/bits.py says by which operations", "test_survival.py::test_the_same_seed_is_the_same_run"),
    Situation("fine", "a truncated PNG in a folder", "score", "a row with an error", "test_score.py::test_bad_files_are_rows_with_an_error"),
    Situation("fine", "NaN in an array", "score", "a row with an error", "test_score.py::test_values_not_finite_are_errors_and_values_outside_are_told"),
    Situation("fine", "TFRecords cut short", "score", "rows up to there", "test_score.py::test_damaged_tfrecords"),
    Situation("fine", "a score broken off", "score --resume", "the same table", "test_score.py::test_a_broken_run_goes_on"),
    Situation("fine", "names with commas, quotes, bytes", "score", "whole rows", "test_score.py::test_ids_with_commas_quotes_and_bytes_that_are_no_text"),
    Situation("fine", "images of other sizes", "score", "scaled as in training, counted", "test_score.py::test_images_of_other_sizes_go_the_way_of_training"),
    Situation("fine", "a calibration of another model", "score", "refused", "test_calibrate.py::test_a_calibration_of_another_model_is_told"),
    Situation("fine", "too few inputs for the rate", "calibrate", "refused", "test_calibrate.py::test_bad_input_is_one_line_and_changes_nothing"),
    Situation("fine", "a task killed", "evaluate again", "goes on", "test_evaluate.py::test_a_killed_task_goes_on_as_if_it_had_not_been"),
    Situation("fine", "a full disk", "export", "nothing is left", "test_disk.py::test_an_export_is_whole_or_not_there"),
    Situation("fine", "an energy under another dtype policy", "load", "float32", "test_export.py::test_a_dtype_policy_set_by_the_user_does_not_matter"),
    Situation("fine", "a Keras model that is no energy", "sample --model=F", "refused in one line", "test_evaluate.py::test_a_keras_model_that_is_no_energy_is_refused"),
    Situation("fine", "more starts than images", "evaluate --tasks=data_init", "refused", "test_evaluate.py::test_cifar_more_starts_than_images_are_refused"),
]
# fmt: on


@functools.cache
def functions_of(path):
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_its_test():
    here = {name for name in functions_of(pathlib.Path(__file__)) if name.startswith("test_")}
    for row in TABLE:
        file, _, name = row.shown_by.rpartition("::")
        assert name in functions_of(pathlib.Path(__file__).parent / (file or pathlib.Path(__file__).name)), row
    assert here - {row.shown_by for row in TABLE} == {"test_every_row_has_its_test"}
    assert {int(match[0]) for row in TABLE if (match := re.match(r"\d+", row.row))} == set(range(1, 21))


@pytest.fixture(autouse=True, scope="module")
def _load_once():
    """A SavedModel takes a second to load. Those here keep the calibration that they had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "load_exported", functools.cache(load_exported))
        yield


# Rows 1 and 6: samples that are not finite or out of range.


@pytest.fixture
def features(tmp_path, monkeypatch):
    """A small extractor, and 12 images for a reference."""
    reference = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    monkeypatch.setattr(images, "load", lambda *args: reference)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "own.keras"
    layers = [keras.Input((32, 32, 3)), keras.layers.AveragePooling2D(16), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(2)]).save(path)
    return str(path)


@pytest.fixture
def own_run(image_run, tmp_path):
    return pathlib.Path(shutil.copytree(image_run, tmp_path / "run"))


def test_samples_all_not_finite_have_no_distance(own_run, features):
    chains = {"num_samples": 2, "num_steps": 20, "step_size": 1e30, "fid_features": features}
    with pytest.raises(UnusableError, match="fid_samples: 0 of the 2 samples of short_run are finite"):
        tasks.evaluate(EvaluateConfig(workdir=str(own_run), tasks="short_run,fid", **chains))
    results = json.loads((own_run / "results.json").read_text())
    found = results["short_run"]
    assert (found["num_not_finite"], found["num_usable"], found["finite"]) == (2, 0, {"noise": False})
    assert "fid" not in results and not (own_run / "figures" / "short_run.png").exists()
    del chains["fid_features"]
    with pytest.raises(UnusableError, match="short_run: no sample can be used"):  # also when it has been done
        tasks.evaluate(EvaluateConfig(workdir=str(own_run), tasks="short_run", **chains))


def samples_with_a_lost_one():
    """uint8 [5, 32, 32, 3] whose third stands for NaN, and energies."""
    x = np.random.default_rng(1).integers(0, 200, (5, 32, 32, 3)).astype(np.uint8)
    x[2] = 0
    return x, np.array([1, 2, np.nan, 3, 4], np.float32)


def made_run(folder, name, **arrays):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TrainConfig().to_dict()))
    (folder / "model.keras").write_bytes(b"never read")
    np.savez(folder / f"{name}.npz", **arrays)
    return FinishedRun(RunDir(folder), TrainConfig(), folder / "model.keras")


def run_task(task, run, features, name):
    settings = EvaluateConfig(workdir=str(run.run_dir.path), tasks="fid", fid_features=features, fid_samples=name)
    partial = PartialArrays(run.run_dir.path / "partial" / task.__name__, "key")
    return task(run, resolve(settings, run.config), partial)


@pytest.mark.parametrize("name", ["short_run", "bank", "mala"])
def test_samples_not_finite_are_left_out(name, features, tmp_path, capsys):
    x, energy = samples_with_a_lost_one()
    stored = {"short_run": {"x_from_noise": x, "energy_from_noise": energy}, "bank": {"x_final": x}}
    stored["bank"]["energy_final"] = energy
    floats = x / np.float32(127.5) - 1
    floats[2] = np.nan
    stored["mala"] = {"x_final": floats}
    found = run_task(fid.fid_task, made_run(tmp_path / "a", name, **stored[name]), features, name).numbers["values"]
    assert "1 samples are not finite, and left out" in capsys.readouterr().out
    rest = {key: np.delete(values, 2, axis=0) for key, values in stored[name].items()}
    other = run_task(fid.fid_task, made_run(tmp_path / "b", name, **rest), features, name).numbers["values"]
    assert (found[name]["num_not_finite"], other[name]["num_not_finite"]) == (1, 0)
    assert found[name]["num_samples"] == 4
    assert found[name]["frechet_distance"] == pytest.approx(other[name]["frechet_distance"], rel=1e-6)


def test_neighbours_leave_out_what_is_not_finite(features, tmp_path, capsys):
    x, energy = samples_with_a_lost_one()
    run = made_run(tmp_path / "run", "short_run", x_from_noise=x, energy_from_noise=energy)
    run.run_dir.figures.mkdir()
    numbers, arrays = run_task(neighbours.neighbours_task, run, features, "short_run")
    assert (numbers["num_samples"], numbers["num_not_finite"]) == (4, 1)
    np.testing.assert_array_equal(arrays["samples"], np.delete(x, 2, axis=0))
    assert "neighbours: warning: short_run; 1 samples are not finite" in capsys.readouterr().out


def test_sample_of_lost_chains_fails(image_run, tmp_path):
    settings = SampleConfig(
        workdir=str(image_run), output=str(tmp_path / "out"), num_samples=4, num_steps=20, step_size=1e30
    )
    with pytest.raises(UnusableError, match="4 of 4 samples are not finite; no sample can be used") as caught:
        sample(settings)
    assert "\n" not in str(caught.value)
    assert np.load(tmp_path / "out" / "samples.npz")["x_final"].shape == (4, 32, 32, 3)


def test_pixels_in_the_thousands_are_told(own_run, monkeypatch, capsys):
    """Ends that are finite: this is not seen by the energy."""
    from ebm_tf.evaluation.chains import short

    real = short.run_chains
    monkeypatch.setattr(short, "run_chains", lambda *args: (8_000 * real(*args)[0], real(*args)[1]))
    with pytest.raises(UnusableError, match="short_run: no sample can be used"):
        tasks.evaluate(EvaluateConfig(workdir=str(own_run), tasks="short_run", num_samples=4, num_steps=1))
    found = json.loads((own_run / "results.json").read_text())["short_run"]
    assert found["finite"] == {"noise": True}
    assert (found["num_out_of_range"], found["num_usable"], found["range_bound"]) == (4, 0, 1.5)
    assert found["out_of_range_share"] > 0.9 and found["max_abs_x"] > 5_000
    assert "short_run: warning: 9" in capsys.readouterr().out


def test_the_api_warns_of_samples(image_model):
    ends = np.zeros((4, 32, 32, 3), np.float32)
    ends[0], ends[1] = np.nan, 8_000
    broken = ebm_tf.TrainedEnergy(image_model.info, {"sample": lambda **_: {"x_final": tf.constant(ends)}})
    with pytest.warns(RuntimeWarning, match=r"1 of 4 samples are not finite; 33.3 % of .* up to 8000; 1 of 4"):
        broken.sample(4)


def test_usable_is_what_it_says():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((50, 3072)).astype(np.float32)
    with_noise = np.where(noise > 0, 1, -1) + 0.3 * noise
    for x, bound in ((noise, usable.bound_of()), (with_noise, usable.bound_of(0.3))):
        assert usable.is_usable(usable.measure(x, bound)).all()
    numbers = usable.summary(usable.measure(with_noise, usable.bound_of(0.3)), usable.bound_of(0.3))
    assert numbers["out_of_range_share"] == 0 and not usable.warning(numbers, 50)
    vectors = usable.summary(usable.measure(np.full((3, 10), 1e6), None), None)
    assert (vectors["num_usable"], vectors["max_abs_x"], "num_out_of_range" in vectors) == (3, 1e6, False)
    assert usable.summary(usable.measure(np.empty((0, 4)), 1.5), 1.5)["num_usable"] == 0


def test_vectors_beyond_all_data_cannot_be_used(rings_run, tmp_path):
    assert range_bound(load_run(rings_run)) == usable.VECTOR_BOUND
    chains = {"num_samples": 4, "num_steps": 2, "step_size": 1e20}
    with pytest.raises(UnusableError, match=r"100 % of the values .* \|x\| > 1000, up to .*no sample can be used"):
        sample(SampleConfig(workdir=str(rings_run), output=str(tmp_path / "out"), **chains))


@pytest.mark.parametrize("name", ["step_size", "temperature", "num_samples", "num_steps", "batch_size", "seed"])
def test_settings_out_of_range_are_refused(name):
    bad = {"temperature": (-1.0,), "num_steps": (-1, 2.0), "seed": (-1, 2**31)}.get(name, (0, -1))
    for value in (*bad, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"--{name}: expected .* Received: {name}="):
            SampleConfig(workdir="run", output="out", **{name: value})


def test_settings_at_their_limits(rings_run, tmp_path):
    """The smallest of each, and the start, which no step of 1e-30 leaves."""
    given = {
        "workdir": str(rings_run),
        "output": str(tmp_path),
        "num_samples": 1,
        "batch_size": 500,
        "temperature": 0.0,
    }
    sample(SampleConfig(num_steps=1, step_size=1e-30, **given))
    with np.load(tmp_path / "samples.npz") as arrays_:
        assert arrays_["x_final"].shape == (1, 10)
        np.testing.assert_array_equal(arrays_["x_final"], arrays_["x_init"])
    assert {path.name for path in tmp_path.iterdir()} == written("bin/sample.py")


# Row 4: kinds of inputs.


@pytest.fixture
def sources(some_images, tmp_path, monkeypatch):
    """A folder, the working one, with an input of every kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "mixed").mkdir()
    for index in range(3):
        Image.fromarray(some_images[index]).save(f"photos/{index}.png")
    Image.fromarray(some_images[0]).save("one.jpg")
    shutil.copy("one.jpg", "picture")
    shutil.copy("one.jpg", "mixed/a.jpg")
    pathlib.Path("mixed/notes.txt").write_text("no image")
    pathlib.Path("notes.txt").write_text("no image\n" * 9)
    np.save("x.npy", some_images[:2])
    shutil.copy("x.npy", "y.png")
    shutil.move("x.npy", "x.dat")
    Image.fromarray(some_images[0]).save("a[1] ü.webp")
    with zipfile.ZipFile("p.zip", "w") as archive:
        archive.write("one.jpg")
    with tf.io.TFRecordWriter("part-0") as writer:
        content = tf.train.BytesList(value=[pathlib.Path("picture").read_bytes()])
        feature = {"image": tf.train.Feature(bytes_list=content)}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return tmp_path


@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ("one.jpg", ["one.jpg"]),
        ("photos/*.png", ["photos/0.png", "photos/1.png", "photos/2.png"]),
        ("picture", ["picture"]),
        ("x.dat", ["0", "1"]),
        ("part-0", ["part-0:0"]),
        ("photos/**/*.png", ["photos/0.png", "photos/1.png", "photos/2.png"]),
        ("a[1] ü.webp", ["a[1] ü.webp"]),
        ("y.png", ["0", "1"]),
    ],
)
def test_inputs_are_found_by_their_content(source, ids, sources, image_export):
    info = read_info(image_export)
    found = [record for shard in inputs.find_shards(source, info, None)() for record in inputs.read_shard(shard, info)]
    assert [record.id for record in found] == ids
    assert all(record.x is not None and record.x.shape == (32, 32, 3) for record in found)


@pytest.mark.parametrize("source", ["p.zip", "notes.txt", "net.keras", "mixed/*"])
def test_other_files_are_refused_before_anything_is_written(source, sources, image_run, image_export):
    shutil.copy(image_run / "model.keras", "net.keras")
    before = sorted(sources.rglob("*"))
    with pytest.raises(
        ConfigError, match=r"--input: expected .* Received: input=\S+, which is none of these"
    ) as caught:
        score.score(ScoreConfig(model=str(image_export), input=source, output="out.csv", skip_bad=True))
    assert "\n" not in str(caught.value) and sorted(sources.rglob("*")) == before
    assert kind_of("one.jpg") == "image"


def test_a_pipe_is_no_input(tmp_path):
    """One with an array in it: it was read where it could be, and waited for where it was empty."""
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(pipe, b"\x93NUMPY" + bytes(50))
    try:
        assert kind_of(str(tmp_path / "pipe")) == ""
    finally:
        os.close(pipe)


def test_arrays_to_learn_are_found_by_their_content(sources):
    assert arrays.read("x.dat").shape == (2, 32, 32, 3)
    with pytest.raises(
        ConfigError, match=r"--dataset: expected a \.npy file.* notes\.txt: an object array, or no array"
    ):
        arrays.read("notes.txt")


def test_a_folder_without_images_says_what_it_holds(tmp_path, image_export):
    (tmp_path / "IMG_1.heic").touch()
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    expected = r"with at least one\. Received: .*; left out: 1 dead links .*, 1 without the .* \('IMG_1\.heic'\)"
    with pytest.raises(ConfigError, match=expected):
        inputs.find_shards(str(tmp_path), read_info(image_export), None)


# Row 7: stuck chains.


def test_stuck_chains_are_in_the_verdict():
    """False alarm: below 3e-13 a half chain. Seen: single chains that stand still, which R-hat over all does not see."""
    values = np.random.default_rng(3).standard_normal((1_000, 100))
    words = lambda x, *accepted: diagnostics.verdict({"x": diagnostics.diagnose(x, 1)}, *accepted)  # noqa: E731
    assert words(values).startswith("settled: ")
    five, one, late = values.copy(), values.copy(), values.copy()
    five[:, :5] = five[0, :5]
    one[:, 7] = one[0, 7] + 1e-3 * values[:, 7]
    late[500:, 9] = late[500, 9]
    for stuck, count in ((five, 5), (one, 1), (late, 1)):
        assert words(stuck).startswith("not settled: R-hat 1.0")
        assert f"{count} of 100 chains are stuck, by their own spread of x" in words(stuck)
    accepted = np.full(100, 600)
    assert words(values, accepted).startswith("settled: ")
    accepted[3] = 6
    assert "1 of 100 chains accepted less than a tenth" in words(values, accepted)
    assert words(values, accepted).startswith("not settled: ")
    few = np.random.default_rng(4).standard_normal((8, 100))
    assert diagnostics.diagnose(few, 1).num_stuck == 0
    values[:, :60] = values[0, :60]
    assert diagnostics.stuck(values).sum() == 60


def test_a_stuck_long_chain_is_in_the_verdict():
    """False alarm: below 1e-8 of 100 chains."""
    steps = np.arange(0, 2_001, 100)
    energy = np.random.default_rng(5).standard_normal((len(steps), 100)).astype(np.float32)
    assert drift.verdict(steps, energy)["num_stuck"] == 0
    energy[:, 4] = energy[0, 4]
    found = drift.verdict(steps, energy)
    assert (found["converged"], found["num_stuck"]) == (False, 1)
    assert found["verdict"].startswith("not settled, 1 of 100 chains are stuck")
    rng, frozen = np.random.default_rng(6), energy.copy()
    frozen[:, 4] += np.linspace(0, 3, len(steps)) * np.spacing(energy[0, 4])  # in its last digits
    frozen[:, 5] = frozen[0, 5] + 1e-3 * frozen[:, 5]
    assert drift.verdict(steps, frozen)["num_stuck"] == 2
    frozen = (np.arange(100) / 100 + 1e-8 * rng.standard_normal(energy.shape)).astype(np.float32)  # all of them
    assert drift.verdict(steps, frozen)["num_stuck"] == 100
    narrow = rng.standard_normal(energy.shape) * np.geomspace(0.1, 10, 100)  # none
    assert drift.verdict(steps, narrow)["num_stuck"] == 0
    for num_stuck in (51, 100):
        energy[:, :num_stuck] = energy[0, :num_stuck]
        found = drift.verdict(steps, energy)
        assert (found["converged"], found["num_stuck"]) == (False, num_stuck)
    for digits in (0, rng.integers(0, 4, energy.shape)):
        flat = np.ones_like(energy) + digits * np.spacing(np.float32(1))  # says nothing
        assert drift.verdict(steps, flat)["num_stuck"] == 0
    few = drift.verdict(np.arange(3), np.random.default_rng(5).standard_normal((3, 1_000)))
    assert few["converged"] is None and few["verdict"].startswith("undecided, longer chains would tell: ")


# Row 8: sets that were resized unequally.


@pytest.mark.parametrize(
    ("first", "second", "told"), [(32, 64, True), (48, 128, True), (32, 32, False), (64, 64, False)]
)
def test_unequal_resizing_is_told(first, second, told, some_images, tmp_path, monkeypatch, capsys):
    for name, side in (("in", first), ("out", second)):
        (tmp_path / name).mkdir()
        for index in range(5):
            picture = Image.fromarray(some_images[index]).resize((side, side), Image.Resampling.NEAREST)
            picture.save(tmp_path / name / f"{index}.png")
    run = FinishedRun(RunDir(tmp_path), TrainConfig(), tmp_path / "model.keras")
    settings = EvaluateConfig(workdir=str(tmp_path), tasks="ood")
    found = ood.resizing(run, settings, {name: str(tmp_path / name) for name in ("in", "out")})
    assert found["out"] == {"num": 5, "num_resized": 5 * (second != 32), "scale": second / 32}
    out = capsys.readouterr().out
    assert ("warning: images were resized unequally: " in out) == told
    assert not told or f"{5 * (second != 32)} of 5 of out" in out


def test_scores_against_a_calibration_of_other_sizes_are_told(image_export, some_images, tmp_path):
    model = str(shutil.copytree(image_export, tmp_path / "model"))
    np.save(tmp_path / "small.npy", some_images)
    np.save(tmp_path / "large.npy", some_images.repeat(2, axis=1).repeat(2, axis=2))
    given = {"false_positive_rate": 0.2, "input": str(tmp_path / "small.npy")}
    assert calibrate.calibrate(CalibrateConfig(model=model, **given))["num_resized"] == 0
    for name, told in (("small", False), ("large", True)):
        given = {"input": str(tmp_path / f"{name}.npy"), "output": str(tmp_path / f"{name}.csv")}
        line = "images were resized unequally: 0 of 20 of the calibration, 20 of 20 here"
        assert any(line in said for said in score.score(ScoreConfig(model=model, **given)).warnings) == told


# Rows 11 and 12: the home folder; an unfinished run.


def test_the_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TrainConfig(workdir="~/run").workdir == f"{tmp_path}/run"
    assert SampleConfig(model="~/a~b", output="out~").model == f"{tmp_path}/a~b"
    with pytest.raises(ConfigError, match=f"Received: {tmp_path}/run"):
        ebm_tf.load("~/run")


def test_a_model_cut_short_is_told(rings_run, tmp_path):
    (tmp_path / "model.keras").write_bytes((rings_run / "model.keras").read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"--model: expected .*model\.keras: damaged, cut short, or no \.keras file"):
        load_energy(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "run"),
        ({"scheme": "noise", "cd_weight": None, "train_steps": 200, "watch": True, "learning_rate": 3e-4}, "a run"),
    ],
)
def test_an_unfinished_run_says_what_finishes_it(changes, name, tmp_path):
    config = TrainConfig(num_filters=4, **changes)
    folder = tmp_path / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "update-88.index").touch()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    before = sorted(tmp_path.rglob("*"))
    uses = [
        lambda: load_run(folder),
        lambda: ebm_tf.load(folder),
        lambda: sample(SampleConfig(workdir=str(folder), output=str(tmp_path / "out"))),
        lambda: export(ExportConfig(workdir=str(folder), output=str(tmp_path / "out"))),
        lambda: tasks.evaluate(EvaluateConfig(workdir=str(folder))),
    ]
    for use in uses:
        with pytest.raises(ConfigError, match=r"is of update 88 of .*; to finish it: ") as caught:
            use()
    assert sorted(tmp_path.rglob("*")) == before
    command = shlex.split(str(caught.value).partition("to finish it: ")[2])
    assert command[:2] == ["python", "bin/train.py"] and command[-1] == "--resume"
    assert flags.config_from_flags(TrainConfig, command[2:]) == dataclasses.replace(
        config, workdir=str(folder), resume=True
    )


# Row 13: layouts of arrays.

GREY = np.random.default_rng(6).integers(0, 256, (6, 32, 32), np.uint8)
COLOUR = np.random.default_rng(7).integers(0, 256, (6, 32, 32, 3), np.uint8)
AS_COLOUR = GREY[..., None].repeat(3, axis=3)
LAYOUTS = {
    "grey": (GREY, AS_COLOUR, "images, grey"),
    "grey with an axis": (GREY[..., None], AS_COLOUR, "images, grey"),
    "grey, channels first": (GREY[:, None], AS_COLOUR, "images, grey, channels first"),
    "channels first": (COLOUR.transpose(0, 3, 1, 2), COLOUR, "images, channels first"),
    "one": (COLOUR[0], COLOUR[:1], "one image"),
    "one, grey": (GREY[0], AS_COLOUR[:1], "one image, grey"),
    "one grey of a stack": (GREY[:1], AS_COLOUR[:1], "images, grey"),
    "three, as they are": (COLOUR[:3], COLOUR[:3], ""),
    "grey floats": (GREY / np.float32(127.5) - 1, AS_COLOUR, "images, grey"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_that_are_unambiguous_are_read(name, image_model, tmp_path, capsys, recwarn):
    x, expected, words = LAYOUTS[name]
    model = image_model
    energy = model.energy(expected)
    recwarn.clear()
    np.testing.assert_allclose(model.energy(x), energy, rtol=1e-4, atol=1e-4)
    assert [str(one.message).partition(" is read as ")[2] for one in recwarn] == ([words] if words else [])
    np.savez(tmp_path / "x.npz", x=x)
    np.save(tmp_path / "x.npy", x)
    for file in ("x.npy", "x.npz"):
        shards = inputs.find_shards(str(tmp_path / file), model.info, None)
        found = [record for shard in shards() for record in inputs.read_shard(shard, model.info)]
        assert len(found) == len(expected)
        assert (f"is read as {words}" in capsys.readouterr().out) == bool(words)
        _, values = score.measured(found, model, "energy")
        np.testing.assert_allclose(values[:, 0], energy, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (6, 32, 32, 2), (32,), (1, 1, 32, 32, 3), (6, 32, 2), ()])
def test_layouts_that_are_not_are_refused(shape, image_model, tmp_path):
    x = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=r"expected x of shape \[N, 32, 32, 3\]. Received: shape="):
        image_model.energy(x)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ConfigError, match="--input: expected an array of floats"):
        inputs.find_shards(str(tmp_path / "x.npy"), image_model.info, None)


# Row 14: runs that must not be written.


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


def test_what_is_done_is_not_written(rings_run, tmp_path, monkeypatch, capsys):
    folder = pathlib.Path(shutil.copytree(rings_run, tmp_path / "run"))
    settings = EvaluateConfig(workdir=str(folder), tasks="short_run", num_samples=3, num_steps=2)
    there = {path.name for path in folder.iterdir()}
    tasks.evaluate(settings)
    said = {name.replace("<task>", "short_run") for name in written("bin/evaluate.py")}
    assert {path.name for path in folder.iterdir()} - there == said
    shutil.rmtree(folder / "figures")
    before = contents(folder)
    folder.chmod(0o555)
    try:
        tasks.evaluate(settings)
    finally:
        folder.chmod(0o755)
    assert contents(folder) == before
    assert "short_run: has been done" in capsys.readouterr().out
    monkeypatch.setattr(tasks.os, "access", lambda *_: False)  # as for one who is not root
    with pytest.raises(ConfigError, match="--workdir: expected a folder that can be written; --output takes"):
        tasks.evaluate(dataclasses.replace(settings, seed=1))


def test_results_go_elsewhere(own_run, features, tmp_path):
    given = {"workdir": str(own_run), "num_steps": 1, "step_size": 1e-3, "tasks": "short_run"}
    tasks.evaluate(EvaluateConfig(num_samples=3, **given))
    before, output = contents(own_run), tmp_path / "out"
    of_fid = {"tasks": "fid", "num_samples": 3, "fid_features": features}
    tasks.evaluate(EvaluateConfig(workdir=str(own_run), output=str(output), **of_fid))
    tasks.evaluate(EvaluateConfig(num_samples=5, output=str(output), **given))
    assert contents(own_run) == before
    results = json.loads((output / "results.json").read_text())
    assert results["fid"]["values"]["short_run"]["num_samples"] == 3
    assert np.load(output / "short_run.npz")["x_from_noise"].shape[0] == 5
    assert load_run(own_run, output).arrays("short_run")["x_from_noise"].shape[0] == 5
    with pytest.raises(ConfigError, match="--output: expected a folder that is not a run's"):
        tasks.evaluate(EvaluateConfig(workdir=str(own_run), output=str(shutil.copytree(own_run, tmp_path / "other"))))


def test_two_exports_to_one_folder(rings_run, tmp_path, monkeypatch):
    """Of two at once, the one that comes second."""
    folder = tmp_path / "made"

    def write(energy, made, draft):
        assert str(os.getpid()) in draft.name  # nobody else's
        folder.mkdir()
        (folder / "saved_model.pb").touch()

    monkeypatch.setattr(exporting, "_write", write)
    with pytest.raises(ConfigError, match="--output: expected a folder that nobody else writes"):
        export(ExportConfig(workdir=str(rings_run), output=str(folder)))
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


# Row 15: documented limits.


def test_documented_limits_hold(image_model, image_run):
    for model in (image_model, ebm_tf.load(image_run)):
        assert model.sample(0).shape == (0, 32, 32, 3)
        assert model.energy(np.empty((0, 32, 32, 3), np.float32)).shape == (0,)
        assert model.energy_grad(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 32, 32, 3)
        np.testing.assert_array_equal(model.sample(2, num_steps=0), model.sample(2, num_steps=0))
        assert model.sample(1, num_steps=0, seed=2**31 - 1).shape == (1, 32, 32, 3)
    x = np.zeros((2, 32, 32, 3), np.uint8)
    for call in (
        lambda: model.energy(x, batch_size=0),
        lambda: model.energy(x, batch_size=-1),
        lambda: model.sample(2.5),
        lambda: model.sample(-1),
        lambda: model.sample(1, seed=-1),
        lambda: model.sample(1, num_steps=2**31),
        lambda: model.sample(True),
    ):
        with pytest.raises(ValueError, match=r"expected a whole number in \[[01], 2\^31\)\. Received: \w+="):
            call()
    none = ebm_tf.rings.sample(0, tf.constant([0, 0]))
    assert none.shape == (0, 10) and ebm_tf.rings.log_prob(none).shape == (0,)


# Rows 16 to 19.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["export", "--clamp=F"],
            "unknown flag --clamp. This command has --checkpoint, --data_dir, --flagfile, --model, ",
        ),
        (["train", "--clamp"], "unknown flag --clamp. --help lists this command's"),
        (["train", "--batchsize=3"], "unknown flag --batchsize. Nearest: --batch_size"),
        (["export", "--outptu=F"], "unknown flag --outptu. Nearest: --output"),
    ],
)
def test_only_near_flags_are_suggested(arguments, message):
    done = processes.run([f"bin/{arguments[0]}.py", *arguments[1:]])
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert "--noise_spectrum" not in done.stderr  # of earlier versions


@pytest.mark.skipif(not (DATA / "svhn_cropped").is_dir(), reason=f"no svhn_cropped in {DATA}; set EBM_TF_DATA")
def test_svhn_has_slices():
    total = images.count("svhn_cropped", "test", str(DATA), "input")
    for split, count in (("test[:4]", 4), ("test[50%:]", total - round(total / 2)), ("test[:2]+test[3:4]", 3)):
        assert abs(images.count("svhn_cropped", split, str(DATA), "input") - count) <= ("%" in split)
    assert images.load_any("svhn_cropped/test[:4]", str(DATA), 32).shape == (4, 32, 32, 3)
    for split in ("train[:4]", "test+extra", "test_[:4]"):
        with pytest.raises(ConfigError, match=r"--input: expected svhn_cropped/test, the only split .* Received: svhn"):
            images.count("svhn_cropped", split, str(DATA), "input")


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason=f"no cifar10 in {DATA}; set EBM_TF_DATA")
def test_splits_without_examples_are_refused():
    assert images.count("cifar10", "test[-5:]", str(DATA), "input") == 5
    for split in ("test[5:2]", "test[3:1]", "test[:0]", "test[20000:]"):
        with pytest.raises(ConfigError, match=r"--input: expected cifar10/test\[.* prepared for TFDS\. Received: "):
            images.count("cifar10", split, str(DATA), "input")


HARMLESS = (
    b"E0000 00:00:1796046627.261321   19420 meta_optimizer.cc:967] remapper failed: INVALID_ARGUMENT: Mutation::Apply "
    b"error: fanout 'a' exist for missing node 'b'.\n"
)
OTHER_HARMLESS = (  # as they came, cut
    b"E0000 00:00:1796080414.980142   11931 util.cc:131] oneDNN supports DT_HALF only on platforms with AVX-512. Fall\n",
    b"E0000 00:00:1796081986.902276   23511 node_def_util.cc:682] NodeDef mentions attribute use_unbounded_threadpool "
    b"which is not in the op definition: Op<name=MapDataset; signature=input_dataset:variant\n",
)
REAL = b"F0000 00:00:1796046627.261321   19420 x.cc:1] Check failed: a == b (0 vs. 1)\n"
OTHER = b"E0000 00:00:1796046627.261321   19420 meta_optimizer.cc:967] layout failed: INVALID_ARGUMENT\n"


def test_only_harmless_lines_are_dropped():
    """Those of a process that aborts are passed on too: the filter is another process."""
    assert all(map(native_stderr.is_harmless, (HARMLESS, *OTHER_HARMLESS)))
    assert not any(map(native_stderr.is_harmless, (REAL, OTHER, b"ValueError: " + HARMLESS, b"")))
    code = (
        "import os, sys; from ebm_tf.cli import native_stderr as n; n.start(); n.start()"
        "; print('python', file=sys.stderr)"
        f"; os.write(2, {HARMLESS + OTHER!r}); os.write(2, {HARMLESS[:50]!r}); os.write(2, {HARMLESS[50:] + REAL!r})"
        "; os.write(2, b'no end'); {end}"
    )
    for end, status in (("pass", 0), ("os._exit(3)", 3), ("os.abort()", -6)):
        command = [sys.executable, "-c", code.replace("{end}", end)]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
        assert (done.returncode, done.stderr) == (status, b"python\n" + OTHER + REAL + b"no end"), end


def test_a_command_leaves_stderr_to_errors(image_run, tmp_path):
    """Also where the environment is of somebody else: another Keras, another language, no home and no screen."""
    settings = [f"--workdir={image_run}", "--num_samples=2", "--num_steps=3", f"--output={tmp_path}/out ü"]
    command = [sys.executable, ROOT / "bin" / "sample.py", *settings]
    poor = {"KERAS_BACKEND": "jax", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "MPLBACKEND": "TkAgg"}
    environment = {name: value for name, value in {**os.environ, **poor}.items() if name != "HOME"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_fit_shuffles_no_batches(monkeypatch):
    """Keras 3.15 warns of its own shuffle=True, which it does not use."""
    asked = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, *args, **kwargs: asked.append(kwargs["shuffle"]))
    data = ebm_tf.Dataset.from_array(np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32))
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    trainer = ebm_tf.Trainer(ebm_tf.EnergyModel.from_network(net), data, batch_size=4)
    trainer.compile()
    trainer.fit(train_steps=1, verbose=0)
    trainer.fit(data.batches(4, 0, 0), steps_per_epoch=1)
    assert asked == [False, False]


# Want of memory.

LACK = "Allocating 17716740096 bytes exceeds the memory limit"
TRACE = 'Graph execution error:\n\nDetected at node x defined at (most recent call last):\n  File "a.py", line 1, in <module>\n\n'
HINT = "Hint: If you want to see a list of tensors, say so.\n [tf-allocator-allocation-error='']"
LACKS = [  # as TensorFlow, XLA and cuDNN raise it
    tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating tensor: {LACK}"),
    tf.errors.InternalError(None, None, f"{TRACE}RESOURCE_EXHAUSTED: {LACK}\n\t [[{{{{node x}}}}]]\n{HINT}"),
    tf.errors.NotFoundError(None, None, f"No algorithm worked! Profiling failure: RESOURCE_EXHAUSTED: {LACK}"),
    MemoryError(LACK),
]


def raising(error):
    def fails(*args, **kwargs):
        raise error

    return fails


def test_want_of_memory_names_the_batch(own_run, image_export, tmp_path, monkeypatch):
    """In every command that computes; and nothing is written."""
    from ebm_tf.evaluation import sampling
    from ebm_tf.evaluation.chains import short

    given = {"workdir": str(own_run), "num_samples": 500, "num_steps": 1, "batch_size": 90}
    for module in (short, sampling):
        monkeypatch.setattr(module, "run_chains", raising(LACKS[0]))
    monkeypatch.setattr(ebm_tf.TrainedEnergy, "energy", raising(LACKS[1]))
    np.save(tmp_path / "x.npy", np.zeros((3, 32, 32, 3), np.uint8))
    files = {"input": str(tmp_path / "x.npy"), "output": str(tmp_path / "x.csv")}
    for name, work in {
        "short_run": lambda: tasks.evaluate(EvaluateConfig(tasks="short_run", **given)),
        "sampling": lambda: sample(SampleConfig(output=str(tmp_path / "out"), **given)),
        "energy": lambda: score.score(ScoreConfig(model=str(image_export), batch_size=90, **files)),
    }.items():
        expected = (
            rf"^out of memory: {name} takes up to 90 at once \(--batch_size=90\)\. Try --batch_size=45 \(.*{LACK}"
        )
        with pytest.raises(UnusableError, match=expected) as caught:
            work()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("x.csv*")) and not list(tmp_path.glob("out/*"))


def test_what_is_want_of_memory_and_what_is_not():
    for error in LACKS:
        with pytest.raises(UnusableError, match=rf"^more \([\w !:]*{LACK}\)$"), devices.memory_explained("more"):
            raise error
    for error in (
        tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
        tf.errors.NotFoundError(None, None, "no such file"),
        OSError("out of memory"),
    ):
        with pytest.raises(type(error)), devices.memory_explained("no"):
            raise error
    with pytest.raises(UnusableError, match="nvidia-smi says which"), devices.memory_explained("no"):
        raise tf.errors.InternalError(None, None, "cudaSetDevice() on GPU:0 failed. Status: out of memory")
    words = devices.at_once("mala", EvaluateConfig(workdir="run", batch_size=500, num_chains=64), ["num_chains"])
    assert words.endswith("up to 64 at once (--batch_size=500, --num_chains=64). Try --batch_size=32 --num_chains=32")


def test_serving_docs_say_what_the_code_does(image_run, image_export, image_model):
    """The table of signatures is the model's; sample starts where the training's noise does."""
    text, loaded = (ROOT / "docs" / "serving.md").read_text(), tf.saved_model.load(str(image_export))
    found = {}
    for cells in rows(text, "signature |"):
        for name in re.findall(r"`(\w+)`", cells[0]):
            takes, gives = (re.findall(r"`(\w+)`", cell) for cell in cells[1:])
            dtypes = set(re.findall(r"float32|uint8|string|int32", cells[1])) or {"float32"}
            found[name] = set(takes), set(gives or [name.removesuffix("_uint8")]), dtypes
    for name, fn in loaded.signatures.items():
        takes = fn.structured_input_signature[1]
        dtypes = {spec.dtype.name for spec in takes.values()} or {"float32"}
        assert found.pop(name) == (set(takes), set(fn.structured_outputs), dtypes), name
    assert not found
    assert "`start` in `--gaussian`" in text.partition("`sample` runs Langevin chains")[2].partition("\n\n")[0]
    mean = load_run(image_run).energy.noise_spectrum[0].numpy()
    start = image_model.sample(200, num_steps=0).mean(axis=0)
    assert np.corrcoef(start.ravel(), mean.ravel())[0, 1] > 0.2


# Row 20: ranges of floats.

UNIT = np.random.default_rng(8).random((30, 32, 32, 3), np.float32)
RANGES = {"[0, 1]": UNIT, "[0, 255]": 255 * UNIT}


@pytest.mark.parametrize("name", RANGES)
def test_floats_of_another_range_are_told(name, image_export, tmp_path):
    np.save(tmp_path / "x.npy", RANGES[name])
    given = {"input": str(tmp_path / "x.npy"), "output": str(tmp_path / "x.csv")}
    (said,) = score.score(ScoreConfig(model=str(image_export), **given)).warnings[:1]
    assert f"where [-1, 1] is expected: they look like {name}" in said


def test_the_api_warns_of_another_range(image_model, recwarn):
    model = image_model
    for x in (2 * UNIT - 1, np.zeros_like(UNIT), (255 * UNIT).astype(np.uint8)):
        model.energy(x)
    assert not list(recwarn)
    for name, x in RANGES.items():
        with pytest.raises(ConfigError, match=re.escape(f"they look like {name}")):
            model.fit_detector(x)
        with pytest.warns(UserWarning, match=re.escape(f"they look like {name}")):
            model.energy_grad(x[:2])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([0, 65_535], "floats from 0 to 6.554e+04, where [-1, 1] is expected"),
        ([-1.6, 1.7], "floats from -1.6 to 1.7, where [-1, 1] is expected"),
        ([-128, 127], "floats from -128 to 127, where [-1, 1] is expected"),
        ([0, 255], "they look like [0, 255]; give uint8, or x / 127.5 - 1"),
        ([0, 0], ""),
        ([np.inf, np.nan], ""),
    ],
)
def test_the_words_on_a_range(x, words):
    seen = RangeSeen()
    seen.add(np.array(x, np.float32))
    assert seen.words().endswith(words) and bool(seen.words()) == bool(words)
