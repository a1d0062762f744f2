package main

// RequiredCases are the tests that every release has to pass to be promoted.
func RequiredCases() []string { return requiredCases() }
