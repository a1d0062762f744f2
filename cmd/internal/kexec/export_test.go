package kexec

// Explain is what Load says of an error.
var Explain = explain
