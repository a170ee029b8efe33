"""Bounds of numbers: the least, and sometimes the largest, value that each public argument takes.

Written down from what the numbers mean: a count of draws, units or steps begins at one, a spread is positive, a share
lies between zero and one. ``INTEGERS`` and ``NUMBERS`` give, for a kind, values that are taken, values that are refused
and the arguments, by package; ``FITTING`` the arguments that have to fit others.
"""

from __future__ import annotations

__all__ = ["FITTING", "INTEGERS", "NUMBERS", "Kind"]

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

INTEGERS: dict[str, Kind] = {
    "from one": (
        (1,),
        (0, -1),
        {
            "builders": "ConvNetwork.build.num_outputs DiracGenerator.embedding_size HyperHypernetwork.embedding_size "
            "HyperHypernetwork.latent_size ImplicitGenerator.chunk_embedding_size "
            "ImplicitGenerator.embedding_size ImplicitGenerator.latent_size LowRankWeights.rank "
            "MLPNetwork.build.num_outputs MeanFieldGenerator.embedding_size RadialGenerator.embedding_size",
            "continual": "Coreset.size DensitySettings.num_parts EWC.num_fisher EWC.num_outputs EWC.num_samples "
            "ExperienceReplay.memory_size ExperienceReplay.num_outputs ExperienceReplay.num_samples "
            "ExperienceReplay.replay_size FineTuning.num_outputs FineTuning.num_samples "
            "FixedSoftmax.num_tasks Joint.num_outputs Joint.num_samples Joint.replay_size "
            "LearnerState.num_outputs OutputRegularizer.fixed_targets OutputRegularizer.max_tasks "
            "OutputRegularizer.num_latents PosteriorReplay.num_outputs PosteriorReplay.num_samples "
            "PriorFocused.num_outputs PriorFocused.num_samples Separate.num_outputs Separate.num_samples "
            "TaskDensity.num_features TaskDensity.num_parts Training.batch_size Training.num_particles "
            "Training.num_samples Training.steps diagonal_fisher.batch_size",
            "data": "split_dataset.classes_per_task split_cifar10.classes_per_task split_digits.classes_per_task "
            "split_fashion_mnist.classes_per_task split_mnist.classes_per_task get_stream.num_tasks "
            "image_outliers.most modes2d.num_test modes2d.num_train permuted_digits.max_test "
            "permuted_digits.max_train permuted_digits.num_tasks permuted_fashion_mnist.max_train "
            "permuted_fashion_mnist.num_tasks permuted_mnist.max_train permuted_mnist.num_tasks "
            "regression1d.num_train rotated_digits.max_test rotated_digits.max_train "
            "split_by_class.classes_per_task split_cifar10.num_tasks split_cifar100.classes_per_task "
            "split_cifar100.num_tasks split_digits.max_test split_digits.max_train split_digits.num_tasks "
            "split_fashion_mnist.num_tasks split_mnist.num_tasks",
            "distributions": "LowRankPosterior.rank",
            "estimators": "AVB.batch_size AVB.num_samples AVB.estimate.num_samples Auto.num_samples "
            "Auto.estimate.num_samples ChangeOfVariables.num_samples ClosedForm.estimate.num_samples "
            "IWHVI.num_samples IWHVI.estimate.num_samples ImportanceSandwich.dof "
            "ImportanceSandwich.num_samples ImportanceSandwich.num_starts ImportanceSandwich.steps "
            "ImportanceSandwich.estimate.num_samples LIVI.num_samples LIVI.estimate.num_samples "
            "MonteCarlo.num_samples MonteCarlo.estimate.num_samples NearestNeighbor.k SIVI.num_latents "
            "SIVI.num_samples SIVI.estimate.num_samples StochasticLIVI.num_probes StochasticLIVI.num_samples "
            "StochasticLIVI.num_steps StochasticLIVI.estimate.num_samples UnfoldedLIVI.num_samples",
            "functional": "batched_forward.chunk_size",
            "geometry": "HeadGeometry.num_weights JacobianGeometry.chunk_size JacobianGeometry.latent_size "
            "JacobianGeometry.num_weights",
            "guides": "AutoHypernet.latent_size AutoHypernet.num_samples AutoHypernet.median.num_samples "
            "AutoHypernet.sample_posterior.num_samples BayesianModel.num_data "
            "BayesianModel.with_data.num_data Gaussian.num_outputs.num_targets "
            "HeteroscedasticGaussian.num_outputs.num_targets LowRankGuide.rank",
            "hnets": "ChunkedHDeconv.chunk_emb_size ChunkedHDeconv.kernel_size ChunkedHMLP.chunk_emb_size "
            "ChunkedHMLP.chunk_size ChunkedHMLP.uncond_in_size HDeconv.kernel_size HMLP.uncond_in_size",
            "inference": "Annealing.num_steps Cosine.num_steps EarlyStopping.every EarlyStopping.patience "
            "ImplicitELBO.num_particles LinearWarmup.num_steps Predictive.input_chunk Predictive.num_samples "
            "Predictive.sample_chunk fit.batch_size fit.num_particles fit.num_steps "
            "reference_posterior.num_chains reference_posterior.num_samples",
            "layers": "BatchNormLayer.num_features SpectralNorm.num_iters",
            "metrics": "ece.num_bins reliability_bins.num_bins sliced_wasserstein.num_projections",
            "mnets": "LeNet.num_classes MLP.n_in MLP.n_out OutputView.stop ResNet.k ResNet.n ResNet.num_classes "
            "SimpleRNN.n_in WRN.k WRN.n WRN.num_classes ZenkeNet.num_classes",
            "reports": "entropy_histograms.num_bins reliability_diagram.num_bins weight_images.most",
            "runs": "Experiment.threads",
            "weights": "WeightEntry.fan_in",
        },
    ),
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
            "reports": "Cell.std Cell.value DriftRecord.accuracy DriftRecord.at_least DriftRecord.kl DriftRecord.lower "
            "DriftRecord.mmd DriftRecord.p_value DriftRecord.predictions DriftRecord.upper InformationRecord.livi "
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
