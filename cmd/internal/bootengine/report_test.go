package bootengine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
	"slipway/signing/footer"
)

func TestReport(t *testing.T) {
	s := bootengine.NewSlot(partitions.Partition{Number: 4, Label: "USR-B"})
	ft := &footer.Footer{Version: "1.2.3", Development: true, RootHash: "ab", BootID: "cd"}
	got, err := bootengine.ReportText(s, ft, "/dev/vda4", "lazy", "vda",
		[]bootengine.Failure{{Label: "USR-A", Err: errors.New("verity: data block 7 is corrupt")}})
	require.NoError(t, err)
	assert.Equal(t, `{
  "boot_id": "cd",
  "development": true,
  "device": "/dev/vda4",
  "disk": "/dev/vda",
  "failures": {
    "USR-A": "verity: data block 7 is corrupt"
  },
  "partition": 4,
  "root_hash": "ab",
  "slot": "USR-B",
  "verify": "lazy",
  "version": "1.2.3"
}`, got)
}

func TestStopwatch(t *testing.T) {
	got := bootengine.Laps([]string{"kernel", "modules"}, []time.Duration{812 * time.Millisecond, 120400 * time.Microsecond})
	assert.Equal(t, "kernel=812 modules=120 total=932", got)
}
