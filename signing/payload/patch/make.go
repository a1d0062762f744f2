package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Make gives a patch that turns old into fresh. Memory is about six times the
// old data, or what its frames unpack to.
func Make(old, fresh []byte) ([]byte, error) {
	if len(old) > MaxSize || len(fresh) > MaxSize {
		return nil, fmt.Errorf("patch: from %d to %d bytes, at most %d are allowed", len(old), len(fresh), MaxSize)
	}
	b, err := makePatch(old, fresh, pairFrames(old, fresh))
	if errors.Is(err, errMemory) {
		b, err = makePatch(old, fresh, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	return b, nil
}

// pairFrames finds new frames, and for each an old one that is as large. Both
// are in the order of the data.
func pairFrames(old, fresh []byte) (pairs []*frame) {
	is := findFrames(fresh, true)
	if len(is) == 0 {
		return nil
	}
	was := alike(findFrames(old, false), is)
	for i, f := range was {
		pairs = append(pairs, &frame{oldAt: f.at, oldSize: f.size, at: is[i].at, size: is[i].size})
	}
	return pairs
}

// alike picks, for each new frame, the old one that is nearest in size, until
// there are no more.
func alike(old, frames []found) (picked []found) {
	for _, f := range frames {
		if len(old) == 0 {
			break
		}
		best := 0
		for i := range old {
			if distance(old[i].content, f.content) < distance(old[best].content, f.content) {
				best = i
			}
		}
		picked = append(picked, old[best])
		old = slices.Delete(old, best, best+1)
	}
	slices.SortFunc(picked, func(a, b found) int { return cmp.Compare(a.at, b.at) })
	return picked
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// makePatch makes a patch with these frames taken apart.
func makePatch(old, fresh []byte, frames []*frame) ([]byte, error) {
	h := &header{oldSize: int64(len(old)), newSize: int64(len(fresh)), frames: frames}
	var o output
	for _, f := range frames {
		err := o.frame(f, old[f.oldAt:f.oldAt+f.oldSize], fresh[f.at:f.at+f.size])
		if err != nil {
			return nil, err
		}
	}
	if h.memory() > MaxMemory {
		return nil, errMemory
	}
	var was, is []byte // without frames
	oldAt, at := int64(0), int64(0)
	for _, f := range frames {
		was, is = append(was, old[oldAt:f.oldAt]...), append(is, fresh[at:f.at]...)
		oldAt, at = f.oldAt+f.oldSize, f.at+f.size
	}
	was, is = append(was, old[oldAt:]...), append(is, fresh[at:]...)
	segments, err := findSegments(was, is)
	if err != nil {
		return nil, err
	}
	o.plain(was, is, few(segments, maxSegments))
	packed, sizes, err := o.pack()
	if err != nil {
		return nil, err
	}
	h.sizes = sizes
	return append(h.append(nil), packed...), nil
}

// findSegments compares two versions.
func findSegments(old, fresh []byte) ([]segment, error) {
	sa, err := suffixes(old)
	if err != nil {
		return nil, err
	}
	return newMatcher(old, fresh, sa).segments(), nil
}
