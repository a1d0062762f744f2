package qemutests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/build/tools/toolstest"
)

// judge runs a foreign program that must succeed and say something.
func judge(t *testing.T, want string, program string, args ...string) {
	t.Helper()
	output, err := toolstest.Command(t, program, args...).CombinedOutput()
	assert.NoError(t, err, "%s\n%s", program, output)
	assert.Contains(t, string(output), want, program)
}
