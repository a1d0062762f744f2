package delta

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"slipway/signing/payload"
)

const (
	// maxSource is the largest old file that a patch may refer to as a whole,
	// in bytes; of larger ones it sees this much on either side of its place.
	maxSource = 24 << 20
	around    = 8 << 20
)

// pairing says which old blocks are like which new ones.
type pairing struct {
	files []File // of the new image, by place
	like  []int  // for each, the old file it is like, or -1
	old   []File // of the old image, by place
	start [2]int64
}

func newPairing(o *Options) (*pairing, error) {
	p := &pairing{files: byPlace(o.NewFiles), old: byPlace(o.OldFiles)}
	p.start = [2]int64{firstByte(p.old, o.OldSize), firstByte(p.files, o.NewSize)}
	p.like = make([]int, len(p.files))
	byPath, byShape := map[string]int{}, map[string][]int{}
	for i, f := range p.old {
		byPath[f.Path] = i
		s := shape(f.Path)
		byShape[s] = append(byShape[s], i)
	}
	var lost []int
	for i, f := range p.files {
		p.like[i] = -1
		if old, ok := byPath[f.Path]; ok {
			p.like[i] = old
		} else if old := byShape[shape(f.Path)]; len(old) > 0 {
			p.like[i] = slices.MinFunc(old, func(a, b int) int {
				return cmp.Compare(distance(p.old[a].Size, f.Size), distance(p.old[b].Size, f.Size))
			})
		} else {
			lost = append(lost, i)
		}
	}
	if len(lost) == 0 {
		return p, nil
	}
	return p, p.bySketch(o, lost)
}

func byPlace(files []File) []File {
	files = slices.DeleteFunc(slices.Clone(files), func(f File) bool { return f.Size <= 0 })
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Start, b.Start) })
	return files
}

func firstByte(files []File, size int64) int64 {
	if len(files) == 0 {
		return size
	}
	return files[0].Start
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// shape is a path with "#" for each number.
func shape(path string) string {
	var b strings.Builder
	number := false
	for _, c := range []byte(path) {
		digit := c >= '0' && c <= '9'
		if !digit {
			b.WriteByte(c)
		} else if !number {
			b.WriteByte('#')
		}
		number = digit
	}
	return b.String()
}

// sources gives the old blocks that the new ones of an extent are like. There
// may be none.
func (p *pairing) sources(e payload.Extent, oldSize int64) []payload.Extent {
	var src []payload.Extent
	at, end := int64(e.Start)*block, int64(e.Start+e.Blocks)*block
	if at < p.start[1] && p.start[0] > 0 {
		src = append(src, extentOf(0, p.start[0]))
	}
	i := sort.Search(len(p.files), func(i int) bool { return p.files[i].end() > at })
	any := at < p.start[1]
	for ; i < len(p.files) && p.files[i].Start < end; i++ {
		any = true
		if old := p.like[i]; old >= 0 {
			src = append(src, near(p.old[old], p.files[i], at, end))
		}
	}
	if !any && at < oldSize {
		// In no file: what is behind the file system has its fixed place.
		src = append(src, extentOf(at, min(end, oldSize)-at))
	}
	return src
}

// near gives the blocks of an old file that are like bytes at to end of a new
// image: all of them, or in a large file those at about the same place.
func near(old, f File, at, end int64) payload.Extent {
	if old.Size <= maxSource {
		return extentOf(old.Start, old.Size)
	}
	scale := float64(old.Size) / float64(f.Size)
	from := int64(float64(max(at-f.Start, 0))*scale) - around
	to := int64(float64(min(end-f.Start, f.Size))*scale) + around
	from, to = max(min(from, old.Size-around), 0), min(to, old.Size)
	return extentOf(old.Start+from, to-from)
}

func extentOf(start, size int64) payload.Extent {
	first := start / block
	return payload.Extent{Start: uint64(first), Blocks: uint64((start+size+block-1)/block - first)}
}
