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
	s := bootengine.NewSlot(partitions.Partition{Number: 4, Label: "USR-B", Attributes: partitions.Slot(2, 3, false)})
	s.SetFooter(&footer.Footer{Version: "1.2.3", Development: true, RootHash: "ab", BootID: "cd"}, "/dev/vda4", "lazy")
	after := &partitions.Table{Partitions: []partitions.Partition{
		{Number: 4, Label: "USR-B", Attributes: partitions.Slot(2, 2, false)},
	}}
	r := &bootengine.Report{
		Slot: s, Disk: bootengine.NewDisk("vda", after),
		Failures: []bootengine.Failure{{Label: "USR-A", Err: errors.New("verity: data block 7 is corrupt")}},
		Versions: map[string]string{"USR-A": "1.2.2", "USR-B": "1.2.3"},
		Watchdog: bootengine.NewWatchdog(&pings{}, "i6300ESB timer", 120), Hung: true,
	}
	got, err := r.Text()
	require.NoError(t, err)
	assert.Equal(t, `{
  "boot_id": "cd",
  "development": true,
  "device": "/dev/vda4",
  "disk": "/dev/vda",
  "ended_by_watchdog": true,
  "failures": {
    "USR-A": "verity: data block 7 is corrupt"
  },
  "on_trial": true,
  "partition": 4,
  "root_hash": "ab",
  "slot": "USR-B",
  "tries_left": 2,
  "verify": "lazy",
  "version": "1.2.3",
  "versions": {
    "USR-A": "1.2.2",
    "USR-B": "1.2.3"
  },
  "watchdog": {
    "device": "i6300ESB timer",
    "seconds": 120
  }
}`, got)
	r.Watchdog = new(bootengine.Watchdog)
	got, err = r.Text()
	require.NoError(t, err)
	assert.NotContains(t, got, `"watchdog"`)
}

func TestStopwatch(t *testing.T) {
	got := bootengine.Laps([]string{"kernel", "modules"}, []time.Duration{812 * time.Millisecond, 120400 * time.Microsecond})
	assert.Equal(t, "kernel=812 modules=120 total=932", got)
}
