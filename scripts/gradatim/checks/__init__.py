"""Does a model behave: unit, integration, performance, abnormal inputs, regression, robustness, the user's own tests."""
