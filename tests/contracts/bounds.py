"""Bounds of numbers: the least, and sometimes the largest, value that each public argument takes.

Written down from what the numbers mean: a count of draws, units or steps begins at one, a spread is positive, a share
lies between zero and one. ``INTEGERS`` and ``NUMBERS`` give, for a kind, values that are taken, values that are refused
and the arguments, by package; ``FITTING`` the arguments that have to fit others.
"""

from __future__ import annotations

__all__ = ["FITTING", "FROM_ONE", "INTEGERS", "NUMBERS", "Kind"]

Kind = tuple[tuple[float, ...], tuple[float, ...], dict[str, str]]

_SIGMA = "{0}.sigma {0}.bias_scale {0}.last_gain"
_BUILT = " ".join(
    _SIGMA.format(name)
    for name in (
        *("DiracGenerator", "HyperHypernetwork", "ImplicitGenerator", "LowRankWeights", "MeanFieldGenerator"),
        *("MeanFieldWeights", "RadialGenerator", "RadialWeights"),
    )
)
_GENERATED = " ".join(
    f"{name}.init_std"
    for name in ("DiracGenerator", "HyperHypernetwork", "ImplicitGenerator", "MeanFieldGenerator", "RadialGenerator")
)
_ENTROPIES = " ".join(
    f"{name}.entropy_weight"
    for name in ("EWC", "ExperienceReplay", "FineTuning", "Joint", "PosteriorReplay", "PriorFocused", "Separate")
)
_VALIDATIONS = " ".join(
    f"{name}.validation_fraction"
    for name in (
        *("from_arrays", "permuted_digits", "permuted_fashion_mnist", "permuted_mnist", "rotated_digits"),
        *("split_by_class", "split_cifar10", "split_cifar100", "split_digits", "split_fashion_mnist", "split_mnist"),
    )
)
_SEEDED = " ".join(
    f"{name}.data_seed"
    for name in (
        *("from_arrays", "modes2d", "permuted", "permuted_digits", "permuted_fashion_mnist", "permuted_mnist"),
        *("regression1d", "rotated_digits", "split_by_class", "split_cifar10", "split_cifar100", "split_digits"),
        *("split_fashion_mnist", "split_mnist"),
    )
)

# What other arguments of the same call leave no choice of, so that a bound alone says nothing.
FITTING = {
    "data": "load_cifar.classes split_by_class.num_tasks split_by_class.test_fraction",
    "hnets": "ChunkedHDeconv.num_layers HContainer.num_cond_embs HDeconv.num_layers "
    "HPerturbWrapper.hnet_uncond_in_size",
    "layers": "SelfAttnLayerV2.in_dim",
    "metrics": "task_inference_accuracy.batch_size",
    "mnets": "OutputView.start SimpleRNN.context_mod_num_ts",
    "tasks": "Task.num_outputs",
}

FROM_ONE: Kind = ((1,), (0, -1), {})
"""Integers that no kind names."""

INTEGERS: dict[str, Kind] = {
    "whole": (
        (-2, 0, 2),
        (),
        {
            "continual": "DensitySettings.seed Separate.predict.seed Separate.predict_each.seed",
            "data": f"class_order.seed image_outliers.seed {_SEEDED}",
            "guides": "Categorical.ignore_index",
            "inference": "Annealing.__call__.step Cosine.__call__.step LinearWarmup.__call__.step",
            "reports": "RunResult.seed",
            "rng": "seeded.source",
        },
    ),
    "from zero": (
        (0, 1),
        (-1,),
        {
            "continual": "DensitySettings.grid DensitySettings.num_components Separate.learn.seed "
            "Separate.restore.num_tasks TaskDensity.num_components",
            "data": "modes2d.num_validation regression1d.num_validation",
            "distributions": "GeneratedPosterior.cond_id HypernetPosterior.cond_id",
            "estimators": "AVB.steps IWHVI.num_flows IWHVI.num_proposals IWHVI.steps",
            "geometry": "ConstantGeometry.latent_size",
            "hnets": "ChunkedHDeconv.cond_in_size ChunkedHDeconv.num_cond_embs ChunkedHDeconv.uncond_in_size "
            "ChunkedHMLP.cond_in_size ChunkedHMLP.num_cond_embs HDeconv.cond_in_size HDeconv.num_cond_embs "
            "HDeconv.uncond_in_size HMLP.cond_in_size HMLP.num_cond_embs StructuredHMLP.chunk_emb_sizes "
            "StructuredHMLP.cond_in_size StructuredHMLP.num_cond_embs StructuredHMLP.uncond_in_size",
            "inference": "ImplicitELBO.max_plate_nesting LogProgress.level reference_posterior.num_warmup",
            "reports": "Cell.decimals Column.decimals",
            "rng": "derive_seed.seed sample_seeded.num",
            "runs": "Experiment.seed",
        },
    ),
    "one of few": (
        (0, 1),
        (-1, 2),
        {
            "continual": "Separate.predict.task_id",
            "hnets": "HMLP.geometry.cond_id get_conditional_parameters.cond_id",
            "layers": "SpectralNorm.dim",
        },
    ),
    "from two": (
        (2, 3),
        (1, 0),
        {
            "data": "modes2d.num_tasks permuted.num_tasks regression1d.num_test",
            "estimators": "ImportanceSandwich.num_proposals NearestNeighbor.num_samples "
            "NearestNeighbor.estimate.num_samples kl_interval.num_samples",
            "geometry": "EmbeddedGeometry.num_weights",
            "reports": "entropy_histograms.num_classes uncertainty_maps.num_classes",
        },
    ),
    "from three": (
        (3, 4),
        (2, 1),
        {
            "estimators": "KernelRatio.num_samples KernelRatio.estimate.num_samples NuMethod.num_samples "
            "NuMethod.estimate.num_samples SSGE.num_samples SSGE.estimate.num_samples Stein.num_samples "
            "Stein.estimate.num_samples",
        },
    ),
    "from four": ((4, 5), (3, 2), {"estimators": "diagnose.num_samples", "guides": "HypernetGuide.audit.num_samples"}),
    "two or none": ((0, 2), (-1, 1), {"estimators": "AVB.contrast_draws"}),
    "dots": ((10, 1200), (9, 1201), {"reports": "png.dpi save_figure.dpi"}),
}

NUMBERS: dict[str, Kind] = {
    "real": (
        (-2.0, 0.0, 2.0),
        (),
        {
            "hnets": "init_chunk_embeddings.normal_mean init_conditional_embeddings.normal_mean",
            "inference": "LinearWarmup.end LinearWarmup.start",
            "reports": "Cell.std Cell.value DriftRecord.accuracy DriftRecord.kl DriftRecord.lower DriftRecord.mmd "
            "DriftRecord.p_value DriftRecord.predictions DriftRecord.upper InformationRecord.livi "
            "InformationRecord.lower InformationRecord.upper KLRecord.analytic KLRecord.lower KLRecord.upper "
            "KLRecord.value",
        },
    ),
    "positive": (
        (1e-3, 1.5),
        (0.0, -1e-6),
        {
            "builders": f"PointWeights.bias_scale PointWeights.last_gain {_BUILT}",
            "continual": "DensitySettings.floor EWC.strength Training.lr Training.max_norm",
            "data": "modes2d.scale modes2d.std",
            "distributions": "FanInGaussian.bias FanInGaussian.gain FanInGaussian.last_gain GeneratedPosterior.sigma "
            "GeneratedSigma.init HypernetPosterior.sigma HypernetPosterior.sigma_floor LearnedSigma.init "
            "LowRankPosterior.init_std LowRankPosterior.sigma MeanFieldPosterior.sigma ModuleSigma.floor "
            "ParameterSigma.floor RadialPosterior.sigma ScaleMixturePrior.scale1 ScaleMixturePrior.scale2",
            "estimators": "AVB.lr IWHVI.lr KernelRatio.ridge NuMethod.nu NuMethod.regularization Stein.ridge",
            "guides": "AutoHypernet.init_scale AutoHypernet.sigma HeteroscedasticGaussian.min_scale "
            "LowRankGuide.sigma MeanFieldGuide.sigma RadialGuide.sigma",
            "inference": "Annealing.start fit.lr",
            "layers": "ContextModLayer.softplus_scale",
        },
    ),
    "from zero": (
        (0.0, 1e-6, 2.0),
        (-1e-6,),
        {
            "builders": _GENERATED,
            "continual": f"Coreset.doubt Coreset.finish_doubt NoiseOutliers.margin NoiseOutliers.weight "
            f"OutputRegularizer.strength PatchOutliers.weight Training.beta {_ENTROPIES}",
            "data": "regression1d.noise_std",
            "estimators": "SSGE.ridge kl_interval.target",
            "hnets": "HPerturbWrapper.sigma_noise init_chunk_embeddings.normal_std "
            "init_conditional_embeddings.normal_std",
            "inference": "EarlyStopping.min_delta ImplicitELBO.beta LogProgress.interval Progress.interval fit.beta",
            "reports": "regression_bands.noise_std run_figures.noise_std write_report.noise_std",
            "weights": "WeightSpec.whitening.bias WeightSpec.whitening.gain WeightSpec.whitening.last_gain",
        },
    ),
    "a share, from zero to one": (
        (0.0, 0.5, 1.0),
        (-1e-6, 1 + 1e-6),
        {
            "continual": "Abstention.false_alarm EWC.decay",
            "distributions": "ScaleMixturePrior.pi",
            "estimators": "SSGE.threshold",
            "inference": "Cosine.final",
            "layers": "BatchNormLayer.momentum",
            "metrics": "coverage.level fpr_at.recall gaussian_coverage.level",
            "mnets": "LeNet.dropout_rate MLP.dropout_rate WRN.dropout_rate",
            "hnets": "ChunkedHMLP.dropout_rate HMLP.dropout_rate",
        },
    ),
    "a share of what is there": ((0.0, 0.3), (-1e-6, 1.0), {"data": _VALIDATIONS}),
    "a share up to a half, or one for none": (
        (0.0, 0.5, 1.0),
        (-1e-6, 0.5 + 1e-6),
        {"mnets": "ZenkeNet.dropout_rate"},
    ),
    "a share that is not empty": (
        (0.1, 0.3),
        (0.0, 1.0),
        {
            "continual": "Abstention.calibrate.false_alarm",
            "data": "from_arrays.test_fraction permuted_digits.test_fraction rotated_digits.test_fraction "
            "split_digits.test_fraction",
        },
    ),
    "a level": ((0.9, 0.99), (0.0, 1.0), {"estimators": "kl_interval.level"}),
    "below the initial value": (
        (1e-6, 0.05),
        (0.0, 0.1),
        {"distributions": "GeneratedPosterior.sigma_floor GeneratedSigma.floor LearnedSigma.floor"},
    ),
    "from one": (
        (1.0, 2.0),
        (1 - 1e-6, 0.0),
        {"estimators": "ImportanceSandwich.inflation", "metrics": "sliced_wasserstein.order"},
    ),
    "a probability that is not zero": ((1e-6, 1.0), (0.0, 1 + 1e-6), {"metrics": "nll.smallest"}),
}
