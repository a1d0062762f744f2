package partitions_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

// naive is gptprio.next a second time, from the description: sort all
// candidates, take the first.
func naive(parts []partitions.Partition) int {
	type candidate struct{ number, priority int }
	var list []candidate
	for _, p := range parts {
		if p.Type.String() != partitions.TypeUSR {
			continue
		}
		priority := int(p.Attributes>>48) % 16
		tries := int(p.Attributes>>52) % 16
		successful := p.Attributes>>56&1 == 1
		if priority != 0 && (successful || tries != 0) {
			list = append(list, candidate{p.Number, priority})
		}
	}
	if len(list) == 0 {
		return 0
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if a.priority != b.priority {
			return b.priority - a.priority
		}
		return a.number - b.number
	})
	return list[0].number
}

// naiveOfThree is naive for slots 3 to 5 and fast enough for 2^27 calls: the
// slots are met in order, and the first one above all before it wins.
func naiveOfThree(p []partitions.Partition) int {
	rank := func(a partitions.Attributes) uint64 {
		if b := uint64(a) >> 48; b>>4&31 != 0 { // tries or successful
			return b & 15
		}
		return 0
	}
	a, b, c := rank(p[0].Attributes), rank(p[1].Attributes), rank(p[2].Attributes)
	switch {
	case a == 0 && b == 0 && c == 0:
		return 0
	case a >= b && a >= c:
		return 3
	case b >= c:
		return 4
	}
	return 5
}

// slots is a table of slots only, numbered 3, 4 and so on.
func slots(n int) *partitions.Table {
	t := &partitions.Table{}
	for i := range n {
		t.Partitions = append(t.Partitions, partitions.Partition{
			Number: 3 + i, Type: uuid.MustParse(partitions.TypeUSR),
		})
	}
	return t
}

func TestNextOfTwoSlotsEveryAttribute(t *testing.T) {
	table := slots(2)
	a, b := &table.Partitions[0], &table.Partitions[1]
	for i := range 1 << 9 {
		a.Attributes = partitions.Attributes(i) << 48
		for j := range 1 << 9 {
			b.Attributes = partitions.Attributes(j) << 48
			if got, _ := partitions.Next(table); got != naive(table.Partitions) {
				t.Fatalf("A %v, B %v: chose %d, want %d", a.Attributes, b.Attributes, got, naive(table.Partitions))
			}
		}
	}
}

// Three slots with all attributes they can have, 2^27 combinations. The short
// test takes one number of tries above none for each priority: the choice can
// depend on tries only through "more than none", as the test above shows.
func TestNextOfThreeSlotsEveryAttribute(t *testing.T) {
	var classes []partitions.Attributes
	for priority := range 16 {
		for tries := range 16 {
			if !testing.Short() || tries == 0 || tries == 1+priority%15 {
				classes = append(classes, partitions.Slot(priority, tries, false), partitions.Slot(priority, tries, true))
			}
		}
	}
	table := slots(3)
	p := table.Partitions
	for _, p[0].Attributes = range classes {
		for _, p[1].Attributes = range classes {
			for _, p[2].Attributes = range classes {
				if got, _ := partitions.Next(table); got != naiveOfThree(p) {
					t.Fatalf("%v; %v; %v: chose %d, want %d",
						p[0].Attributes, p[1].Attributes, p[2].Attributes, got, naive(p))
				}
				if testing.Short() && naive(p) != naiveOfThree(p) {
					t.Fatalf("the naive choices differ: %d and %d", naive(p), naiveOfThree(p))
				}
			}
		}
	}
}

func TestNextExcludeFindsTheNextBest(t *testing.T) {
	table := slots(3)
	table.Partitions[0].Attributes = partitions.Slot(1, 0, true)
	table.Partitions[1].Attributes = partitions.Slot(3, 1, false)
	table.Partitions[2].Attributes = partitions.Slot(2, 0, true)
	var order, exclude []int
	for {
		n, ok := partitions.Next(table, exclude...)
		if !ok {
			assert.Zero(t, n)
			break
		}
		order, exclude = append(order, n), append(exclude, n)
	}
	assert.Equal(t, []int{4, 5, 3}, order)
}

func TestNextIgnoresOtherTypes(t *testing.T) {
	table := slots(1)
	table.Partitions[0].Type = uuid.MustParse(partitions.TypeLinuxData)
	table.Partitions[0].Attributes = partitions.Slot(15, 15, true)
	_, ok := partitions.Next(table)
	assert.False(t, ok)
}

// The sequence of GRUB's own test, tests/gptprio_test.in.
func TestNextRunsOutOfTries(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	l.Partitions = l.Partitions[2:4]
	l.Partitions[0].Attributes = partitions.Slot(3, 3, false)
	l.Partitions[1].Attributes = partitions.Slot(2, 2, false)
	third := l.Partitions[1]
	third.Number, third.Label, third.UUID, third.Start = 5, "USR-C", ids()("USR-C"), 4464640
	third.Attributes = partitions.Slot(1, 0, true)
	l.Partitions = append(l.Partitions, third)
	m := create(t, l)

	var booted []int
	for range 8 {
		table := mustRead(t, m)
		n, ok := partitions.Next(table)
		require.True(t, ok)
		require.NoError(t, partitions.UseTry(m, table, n))
		booted = append(booted, n)
	}
	assert.Equal(t, []int{3, 3, 3, 4, 4, 5, 5, 5}, booted)
}

func TestPrioritize(t *testing.T) {
	tests := []struct {
		name    string
		now     []int
		ranking partitions.Ranking
		want    []int
	}{
		{"nothing to do", []int{2, 1}, partitions.Ranking{}, []int{2, 1}},
		{"close gaps", []int{9, 0, 4, 4}, partitions.Ranking{}, []int{2, 0, 1, 1}},
		{"the other slot", []int{2, 1}, partitions.Ranking{First: 4}, []int{1, 2}},
		{"as shipped", []int{1, 0}, partitions.Ranking{First: 4}, []int{1, 2}},
		{"alone", []int{2, 2, 1}, partitions.Ranking{First: 3}, []int{3, 2, 1}},
		{"friends", []int{2, 2, 3}, partitions.Ranking{First: 3, Friends: true}, []int{2, 2, 1}},
		{"top", []int{2, 1, 0}, partitions.Ranking{Top: 15}, []int{15, 14, 0}},
		{"coalesce", []int{4, 3, 2, 1}, partitions.Ranking{Top: 2}, []int{2, 1, 1, 1}},
		{"all zero", []int{0, 0}, partitions.Ranking{Top: 7}, []int{0, 0}},
		{"friends at zero", []int{0, 0, 1}, partitions.Ranking{First: 4, Friends: true}, []int{2, 2, 1}},
		{"sixteen", []int{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, partitions.Ranking{First: 18},
			[]int{14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 15}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := slots(len(tt.now))
			for i, n := range tt.now {
				table.Partitions[i].Attributes = partitions.Slot(n, 3, i%2 == 0)
			}
			changes, err := partitions.Prioritize(table.Slots(), tt.ranking)
			require.NoError(t, err)
			var got []int
			for _, p := range table.Partitions {
				a, changed := changes[p.Number]
				if !changed {
					a = p.Attributes
				}
				got = append(got, a.Priority())
				assert.Equal(t, p.Attributes, a.WithPriority(p.Attributes.Priority()), "only the priority changes")
			}
			assert.Equal(t, tt.want, got)
		})
	}
	_, err := partitions.Prioritize(slots(2).Slots(), partitions.Ranking{First: 9})
	assert.EqualError(t, err, "partition 9: not a slot")
}
