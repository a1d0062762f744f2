package bus_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/locksmith/bus"
)

func TestUtmp(t *testing.T) {
	long := "a name that takes all thirty-two"
	text := bus.Utmp(7, 1, "pts/0") + bus.Utmp(8, 2, "pts/1") + bus.Utmp(7, 3, long)
	assert.Equal(t, []string{"pts/0", long}, bus.Lines([]byte(text)))
	assert.Equal(t, []string{"pts/0"}, bus.Lines([]byte(text[:len(text)-1])), "cut short")
	assert.Empty(t, bus.Lines(nil))
}

func FuzzUtmp(f *testing.F) {
	f.Add([]byte(bus.Utmp(7, 1, "pts/0") + "x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		assert.LessOrEqual(t, len(bus.Lines(text)), len(text)/384)
	})
}
