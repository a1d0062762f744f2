package bootengine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"

	"slipway/cmd/internal/bootengine"
	"slipway/partitions"
)

// source is a disk whose slots open or not, and which writes down what is done
// to it.
type source struct {
	table *partitions.Table
	bad   map[int]bool // slots that do not open
	stuck bool         // tries cannot be written
	// kexec are slots with another kernel, which does not start.
	kexec    map[int]bool
	versions map[int]string
	log      []string
}

func (s *source) UseTry(number int) error {
	for i, p := range s.table.Partitions {
		if p.Number != number || p.Attributes.Tries() == 0 {
			continue
		}
		if s.stuck {
			return errors.New("disk is full of sand")
		}
		s.table.Partitions[i].Attributes = p.Attributes.WithTries(p.Attributes.Tries() - 1)
		s.log = append(s.log, fmt.Sprintf("try %d", number))
	}
	return nil
}

func (s *source) Open(p partitions.Partition) (*bootengine.Slot, error) {
	s.log = append(s.log, fmt.Sprintf("open %d", p.Number))
	if s.bad[p.Number] {
		return nil, errors.New("bad")
	}
	return bootengine.NewSlot(p), nil
}

// choose goes on until a slot is started.
func (s *source) choose(given int) (*bootengine.Slot, error) {
	say := func(format string, args ...any) { s.log = append(s.log, "say "+fmt.Sprintf(format, args...)) }
	c := bootengine.NewChooser(s.table, s, say)
	if given != 0 {
		return c.Given(given)
	}
	for {
		slot, err := c.Next()
		if err != nil || !s.kexec[slot.Part().Number] {
			return slot, err
		}
		s.log = append(s.log, fmt.Sprintf("kexec %d", slot.Part().Number))
		c.Reject(slot, errors.New("start its kernel: no"))
	}
}

func (s *source) Version(p partitions.Partition) string { return s.versions[p.Number] }

// slots is a table with USR-A as 3 and USR-B as 4.
func slots(a, b partitions.Attributes) *partitions.Table {
	return &partitions.Table{SectorSize: 512, Partitions: []partitions.Partition{
		{Number: 3, Label: "USR-A", Type: uuid.MustParse(partitions.TypeUSR), Attributes: a},
		{Number: 4, Label: "USR-B", Type: uuid.MustParse(partitions.TypeUSR), Attributes: b},
		{Number: 9, Label: "ROOT", Type: uuid.MustParse(partitions.TypeResize)},
	}}
}

func TestChoose(t *testing.T) {
	proven, fresh, empty := partitions.Slot(1, 0, true), partitions.Slot(2, 3, false), partitions.Slot(0, 0, false)
	cases := []struct {
		name  string
		a, b  partitions.Attributes
		bad   map[int]bool
		kexec map[int]bool
		stuck bool
		given int
		want  string // what was done, what was said, what came out
	}{
		{name: "proven", a: proven, b: empty, want: "open 3; slot 3"},
		{name: "try is taken before the slot is touched", a: proven, b: fresh, want: "try 4; open 4; slot 4"},
		{
			name: "bad slot is passed over", a: proven, b: fresh, bad: map[int]bool{4: true},
			want: "try 4; open 4; say USR-B 2.0: bad; open 3; slot 3",
		},
		{
			name: "kernel that does not start is passed over, its try is gone", a: proven, b: fresh, kexec: map[int]bool{4: true},
			want: "try 4; open 4; kexec 4; say USR-B 2.0: start its kernel: no; open 3; slot 3",
		},
		{
			name: "proven, but its kernel does not start", a: partitions.Slot(3, 0, true), b: proven, kexec: map[int]bool{3: true},
			want: "open 3; kexec 3; say USR-A: start its kernel: no; open 4; slot 4",
		},
		{
			name: "spent slot is named", a: proven, b: partitions.Slot(2, 0, false),
			want: "say USR-B 2.0: its tries are spent and it was never healthy; open 3; slot 3",
		},
		{
			name: "spent slot of lower priority is nobody's business", a: partitions.Slot(2, 0, true), b: partitions.Slot(1, 0, false),
			want: "open 3; slot 3",
		},
		{
			name: "spent one between two", a: partitions.Slot(2, 0, false), b: partitions.Slot(3, 1, false), bad: map[int]bool{4: true},
			want: "try 4; open 4; say USR-B 2.0: bad; error USR-B 2.0: bad, USR-A: its tries are spent and it was never healthy",
		},
		{
			name: "proven slot is not demoted", a: partitions.Slot(3, 0, true), b: partitions.Slot(1, 0, true), bad: map[int]bool{3: true},
			want: "open 3; say USR-A: bad; open 4; slot 4",
		},
		{
			name: "all bad", a: proven, b: fresh, bad: map[int]bool{3: true, 4: true},
			want: "try 4; open 4; say USR-B 2.0: bad; open 3; say USR-A: bad; error USR-B 2.0: bad, USR-A: bad",
		},
		{
			name: "nothing bootable", a: empty, b: partitions.Slot(2, 0, false),
			want: "error USR-A: not to be started: priority=0 tries=0 successful=0, " +
				"USR-B 2.0: its tries are spent and it was never healthy",
		},
		{
			name: "one bad, one not bootable", a: proven, b: empty, bad: map[int]bool{3: true},
			want: "open 3; say USR-A: bad; error USR-A: bad, USR-B 2.0: not to be started: priority=0 tries=0 successful=0",
		},
		{
			name: "tries cannot be written: not for a slot on trial", a: proven, b: fresh, stuck: true,
			want: "say USR-B 2.0: write its tries: disk is full of sand; open 3; slot 3",
		},
		{
			name: "tries cannot be written: for a proven one", a: partitions.Slot(1, 1, true), b: empty, stuck: true,
			want: "say USR-A: write its tries: disk is full of sand; it is proven and started all the same; open 3; slot 3",
		},
		{name: "given takes no try", a: proven, b: fresh, given: 4, want: "open 4; slot 4"},
		{name: "given, tries used up", a: proven, b: partitions.Slot(2, 0, false), given: 4, want: "open 4; slot 4"},
		{
			name: "given is bad: no other", a: proven, b: fresh, given: 4, bad: map[int]bool{4: true},
			want: "open 4; error USR-B, whose kernel is running: bad",
		},
		{
			name: "given is no slot", a: proven, b: fresh, given: 9,
			want: "error partition 9, given on the command line: not a slot",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			src := &source{
				table: slots(c.a, c.b), bad: c.bad, stuck: c.stuck, kexec: c.kexec,
				versions: map[int]string{4: "2.0"},
			}
			s, err := src.choose(c.given)
			switch {
			case err == nil:
				src.log = append(src.log, fmt.Sprintf("slot %d", s.Part().Number))
			case c.given != 0:
				src.log = append(src.log, "error "+err.Error())
			default:
				src.log = append(src.log, "error "+strings.Join(bootengine.Lines(err), ", "))
			}
			assert.Equal(t, c.want, strings.Join(src.log, "; "))
		})
	}
}

// TestChooseNeverLoops goes through all attributes of two slots, good and bad:
// every slot is opened at most once, and none that must not be.
func TestChooseNeverLoops(t *testing.T) {
	for bits := range 1 << 14 {
		a := partitions.Slot(bits&3, bits>>2&3, bits>>4&1 == 1)
		b := partitions.Slot(bits>>5&3, bits>>7&3, bits>>9&1 == 1)
		src := &source{
			table: slots(a, b), stuck: bits>>12&1 == 1, kexec: map[int]bool{3: bits>>13&1 == 1, 4: bits>>13&1 == 1},
			bad: map[int]bool{3: bits>>10&1 == 1, 4: bits>>11&1 == 1},
		}
		s, err := src.choose(0)
		opened := 0
		for _, l := range src.log {
			if strings.HasPrefix(l, "open") {
				opened++
			}
		}
		if opened > 2 || (s == nil) == (err == nil) {
			t.Fatalf("%s and %s: %v %v", a, b, src.log, err)
		}
		if s != nil && (src.bad[s.Part().Number] || !s.Part().Attributes.Bootable()) {
			t.Fatalf("%s and %s: started %s", a, b, s.Part().Label)
		}
		for i, before := range []partitions.Attributes{a, b} {
			after := src.table.Partitions[i].Attributes
			if after.Successful() != before.Successful() || after.Priority() != before.Priority() {
				t.Fatalf("%s became %s", before, after)
			}
		}
	}
}

// TestTrialEnds boots again and again with a bad version on trial: it is tried
// as often as it has tries, in whatever way it is bad, and then never more.
func TestTrialEnds(t *testing.T) {
	bad := map[int]bool{4: true}
	for name, breakIt := range map[string]func(*source){
		"does not verify":                 func(s *source) { s.bad = bad },
		"its kernel cannot be started":    func(s *source) { s.kexec = bad },
		"hangs, panics or is not healthy": func(*source) {},
	} {
		t.Run(name, func(t *testing.T) {
			table := slots(partitions.Slot(1, 0, true), partitions.Slot(2, 3, false))
			opened := 0
			for boot := range 10 {
				src := &source{table: table}
				breakIt(src)
				s, err := src.choose(0)
				if err != nil {
					t.Fatalf("boot %d: %v", boot, err)
				}
				log := strings.Join(src.log, "; ")
				if strings.Contains(log, "open 4") {
					opened++
					continue
				}
				assert.Equal(t, 3, s.Part().Number)
				assert.Equal(t, "say USR-B: its tries are spent and it was never healthy; open 3", log)
			}
			assert.Equal(t, 3, opened)
		})
	}
}
