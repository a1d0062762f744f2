package delta

import (
	"fmt"
	"io"
)

// Files are compared by samples of their content: the hashes of those runs of
// 32 bytes whose hash is a multiple of 256, wherever they are.
const (
	sampleWindow = 32
	sampleEvery  = 256
	maxSamples   = 1024    // of a file
	sampled      = 4 << 20 // bytes of a file that are looked at
	minShared    = 4       // samples that say that files are alike
	sampleFactor = 0x9e3779b97f4a7c15
)

// bySketch finds old files whose content is like that of the new files that
// nothing else says anything about.
func (p *pairing) bySketch(o *Options, lost []int) error {
	known := map[string]bool{}
	for _, f := range p.files {
		known[f.Path] = true
	}
	where := map[uint64][]int{}
	for i, f := range p.old {
		if known[f.Path] {
			continue
		}
		samples, err := sketch(o.Old, f)
		if err != nil {
			return fmt.Errorf("old image: %w", err)
		}
		for _, s := range samples {
			where[s] = append(where[s], i)
		}
	}
	if len(where) == 0 {
		return nil
	}
	for _, i := range lost {
		samples, err := sketch(o.New, p.files[i])
		if err != nil {
			return fmt.Errorf("new image: %w", err)
		}
		shared := map[int]int{}
		for _, s := range samples {
			for _, old := range where[s] {
				shared[old]++
			}
		}
		best, most := -1, minShared-1
		for old, n := range shared {
			if n > most || n == most && best >= 0 && old < best {
				best, most = old, n
			}
		}
		p.like[i] = best
	}
	return nil
}

// sketch gives samples of a file, each once.
func sketch(r io.ReaderAt, f File) ([]uint64, error) {
	b := make([]byte, min(f.Size, sampled))
	if n, err := r.ReadAt(b, f.Start); n < len(b) {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	var samples []uint64
	seen := map[uint64]bool{}
	out := uint64(1) // the factor of the byte that leaves the window
	for range sampleWindow {
		out *= sampleFactor
	}
	h := uint64(0)
	for i, c := range b {
		h = h*sampleFactor + uint64(c) + 1
		if i >= sampleWindow {
			h -= out * (uint64(b[i-sampleWindow]) + 1)
		}
		mixed := (h ^ h>>29) * sampleFactor >> 7
		if i+1 < sampleWindow || mixed%sampleEvery != 0 || seen[mixed] {
			continue
		}
		seen[mixed] = true
		if samples = append(samples, mixed); len(samples) == maxSamples {
			break
		}
	}
	return samples, nil
}
