package tools

// RelativeTarget shows relativeTarget to tests.
func RelativeTarget(p, target string) string { return relativeTarget(p, target) }
