package partitions_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
	"slipway/qemu-tests/powercut"
)

// boots explores every way a machine can live through boots whose power is
// cut at any write: which slots are started, and how often at most.
type boots struct {
	t    *testing.T
	seen map[string]map[int]int
}

// key is everything of the table that is on the disk.
func key(t *testing.T, d *powercut.Disk) string {
	t.Helper()
	var b []byte
	for _, lba := range []int64{1, 2, last(d) - 32, last(d)} {
		b = append(b, sectorAt(t, d, lba)...)
	}
	return string(b)
}

// most returns for each slot how often it can be started at most from here
// on, -1 for any number of times.
func (b *boots) most(m *powercut.Disk) map[int]int {
	k := key(b.t, m)
	if known, ok := b.seen[k]; ok {
		return known // also a boot that came back to where it was
	}
	most := map[int]int{}
	b.seen[k] = most
	table := mustRead(b.t, m)
	n, ok := partitions.Next(table)
	require.True(b.t, ok, "no slot to boot: %v", table.Slots())
	r := powercut.Record(m)
	require.NoError(b.t, partitions.UseTry(r, table, n))

	// A cut before the try is on the disk starts nothing.
	for cut := range r.States(powercut.Options{}) {
		if key(b.t, cut.Disk) != k {
			for slot, times := range b.most(cut.Disk) {
				most[slot] = worse(most[slot], times)
			}
		}
	}
	if key(b.t, r.Disk) == k {
		most[n] = -1
		return most
	}
	for slot, times := range b.most(r.Disk) {
		if slot == n && times >= 0 {
			times++
		}
		most[slot] = worse(most[slot], times)
	}
	if _, again := b.most(r.Disk)[n]; !again {
		most[n] = worse(most[n], 1)
	}
	return most
}

func worse(a, b int) int {
	if a < 0 || b < 0 {
		return -1
	}
	return max(a, b)
}

// A new version gets as many starts as it has tries and not one more, however
// often the power fails; the proven one can always be started and its entry
// never changes.
func TestPowerCyclingNeitherWearsOutNorRepeats(t *testing.T) {
	for _, tries := range []int{1, 2, 3} {
		for what, spoil := range damage(t, 512) {
			t.Run(fmt.Sprintf("%d tries, bad %s", tries, what), func(t *testing.T) {
				disk := defaultDisk(t)
				require.NoError(t, partitions.SetAttributes(disk, mustRead(t, disk), 4, partitions.Slot(2, tries, false)))
				spoil(disk)
				b := boots{t, map[string]map[int]int{}}
				assert.Equal(t, map[int]int{3: -1, 4: tries}, b.most(disk))
				assert.Greater(t, len(b.seen), 3*tries, "states of the table")
				for k := range b.seen {
					a, ok := proven([]byte(k))
					require.True(t, ok)
					require.Equal(t, partitions.Slot(1, 0, true), a)
				}
			})
		}
	}
}

// proven finds the attributes of slot A in a key: in a copy of the entries
// that is not wiped.
func proven(k []byte) (partitions.Attributes, bool) {
	for _, sector := range [][]byte{k[512:1024], k[1024:1536]} {
		if e := sector[2*128:]; e[0] != 0 {
			var a partitions.Attributes
			for i := range 8 {
				a |= partitions.Attributes(e[48+i]) << (8 * i)
			}
			return a, true
		}
	}
	return 0, false
}
