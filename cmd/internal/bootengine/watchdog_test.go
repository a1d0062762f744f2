package bootengine_test

import (
	"bytes"
	"io"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/bootengine"
)

// pings counts what is written to a watchdog.
type pings struct{ n int }

func (p *pings) Write(b []byte) (int, error) { p.n += len(b); return len(b), nil }
func (p *pings) Close() error                { return nil }

func TestParseWatchdog(t *testing.T) {
	cases := []struct {
		value   string
		want    int
		problem string
	}{
		{"120", 120, ""},
		{"30", 30, ""},
		{"off", 0, ""},
		{"5", 120, `argument "slipway.watchdog=5": want 30 to 2000 seconds or off; taking 120`},
		{"9999", 120, `argument "slipway.watchdog=9999": want 30 to 2000 seconds or off; taking 120`},
		{"", 120, `argument "slipway.watchdog=": want 30 to 2000 seconds or off; taking 120`},
	}
	for _, c := range cases {
		t.Run(c.value, func(t *testing.T) {
			got, problem := bootengine.ParseWatchdog(c.value)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.problem, problem)
		})
	}
}

func TestWatchdogArgument(t *testing.T) {
	for cmdline, want := range map[string]struct {
		seconds int
		asked   bool
	}{
		"quiet": {120, false}, "slipway.watchdog=60": {60, true}, "slipway.watchdog=off": {0, true},
		"slipway.watchdog=60 slipway.watchdog=90": {90, true},
	} {
		c, err := bootengine.ReadConfig(initramfsOf(t, cmdline))
		require.NoError(t, err)
		seconds, asked := c.WatchdogArgument()
		assert.Equal(t, want.seconds, seconds, cmdline)
		assert.Equal(t, want.asked, asked, cmdline)
	}
}

// TestWatchdogIsPingedForProgress reads through it: pings come with bytes.
func TestWatchdogIsPingedForProgress(t *testing.T) {
	device := &pings{}
	dog := bootengine.NewWatchdog(device, "x", 120)
	r := dog.Progress(bytes.NewReader(make([]byte, 40<<20)))
	_, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, 15<<20))
	require.NoError(t, err)
	assert.Zero(t, device.n)
	_, err = io.Copy(io.Discard, io.NewSectionReader(r, 0, 40<<20))
	require.NoError(t, err)
	assert.Equal(t, 3, device.n, "for 55 MiB")

	none := new(bootengine.Watchdog)
	_, err = io.Copy(io.Discard, io.NewSectionReader(none.Progress(r), 0, 40<<20))
	assert.NoError(t, err, "a machine without a watchdog boots as well")
}

func TestWatchdogSystemd(t *testing.T) {
	dog := bootengine.NewWatchdog(nil, "x", 90)
	assert.Empty(t, dog.SystemdConfig(false), "the image's own setting holds")
	assert.Contains(t, dog.SystemdConfig(true), "\n[Manager]\nRuntimeWatchdogSec=90s\n")
	assert.Contains(t, new(bootengine.Watchdog).SystemdConfig(true), "\n[Manager]\nRuntimeWatchdogSec=off\n")
}

func TestWatchdogDescribe(t *testing.T) {
	sys := fstest.MapFS{
		"class/watchdog/watchdog0/identity":   {Data: []byte("i6300ESB timer\n")},
		"class/watchdog/watchdog0/bootstatus": {Data: []byte("32\n")},
	}
	name, fired := new(bootengine.Watchdog).Describe(sys)
	assert.Equal(t, "i6300ESB timer", name)
	assert.True(t, fired)
	sys["class/watchdog/watchdog0/bootstatus"].Data = []byte("0\n")
	_, fired = new(bootengine.Watchdog).Describe(sys)
	assert.False(t, fired)
}

func TestSplitWatchdogs(t *testing.T) {
	const dir = "/lib/modules/6/kernel/drivers/watchdog/"
	core, esb := bootengine.NewModule(dir+"watchdog.ko"), bootengine.NewModule(dir+"i6300esb.ko", "pci:v1*")
	soft, disk := bootengine.NewModule(dir+"softdog.ko"), bootengine.NewModule("/lib/modules/6/kernel/virtio_blk.ko")
	devices, standIn, others := bootengine.SplitWatchdogs([]bootengine.Module{core, disk, soft, esb})
	assert.Equal(t, []bootengine.Module{core, esb}, devices)
	assert.Equal(t, []bootengine.Module{soft}, standIn)
	assert.Equal(t, []bootengine.Module{disk}, others)
}

func TestModuleArguments(t *testing.T) {
	got := bootengine.ModuleArguments("quiet softdog.soft_margin=9 virtio-blk.queue_depth=4 virtio_blk.num=2 a.b .c d. panic=1.5\n")
	assert.Equal(t, map[string]string{
		"watchdog":   "stop_on_reboot=0",
		"softdog":    "soft_panic=1 soft_margin=9",
		"virtio_blk": "queue_depth=4 num=2",
		"a":          "b",
	}, got)
}
