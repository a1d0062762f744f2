package patch

// matcher finds the segments by the method of bsdiff: Percival, "Naive
// differences of executable code", 2003. A copy goes on over differences for
// as long as at least half of its bytes are equal.
type matcher struct {
	old, new []byte
	sa       []int32

	// Where in sa the suffixes start whose first bytes are a number of so many.
	starts []int32
	prefix int
}

func newMatcher(old, fresh []byte, sa []int32) *matcher {
	m := &matcher{old: old, new: fresh, sa: sa, prefix: 2}
	if len(old) > 8<<20 {
		m.prefix = 3
	}
	m.starts = make([]int32, 1<<(8*m.prefix)+1)
	mask, key := 1<<(8*m.prefix)-1, 0
	for i, b := range old {
		if key = (key<<8 | int(b)) & mask; i >= m.prefix-1 {
			m.starts[key]++
		}
	}
	// Suffixes that are shorter come before those they are the start of.
	short := map[int]int32{}
	for n := 1; n < m.prefix && n <= len(old); n++ {
		key := 0
		for i := range m.prefix {
			key <<= 8
			if i < n {
				key |= int(old[len(old)-n+i])
			}
		}
		short[key]++
	}
	at := int32(0)
	for key, n := range m.starts {
		if len(short) > 0 {
			at += short[key]
			delete(short, key)
		}
		m.starts[key] = at
		at += n
	}
	return m
}

const (
	// gain is how many bytes longer than the present copy another must be.
	gain = 8
	// steady is a run of equal bytes that ends the search for a better copy.
	steady = 32
)

func (m *matcher) segments() []segment {
	var all []segment
	var scan, length, pos int
	var lastScan, lastPos, lastOffset int
	n := len(m.new)
	for scan < n {
		score := 0 // equal bytes of the present copy from scan to ahead
		scan += length
		ahead := scan
		for ; scan < n; scan++ {
			if run := m.equal(scan, scan+lastOffset, steady); run == steady {
				// No copy is better by much than one that fits.
				length, score, ahead = run, run, max(ahead, scan+run)
			} else {
				length, pos = m.longest(scan)
				for ; ahead < scan+length; ahead++ {
					score += m.fits(ahead, ahead+lastOffset)
				}
			}
			if length == score && length != 0 || length > score+gain {
				break
			}
			if ahead > scan {
				score -= m.fits(scan, scan+lastOffset)
			} else {
				ahead++
			}
		}
		if length == score && scan < n {
			continue
		}
		forward := m.forward(lastScan, lastPos, scan)
		backward := 0
		if scan < n {
			backward = m.backward(lastScan, scan, pos)
		}
		if overlap := forward + backward - (scan - lastScan); overlap > 0 {
			cut := m.cut(overlap, lastScan+forward, lastPos+forward, scan-backward, pos-backward)
			forward += cut - overlap
			backward -= cut
		}
		all = append(all, segment{
			old: uint32(lastPos), copied: uint32(forward),
			added: uint32(scan - backward - lastScan - forward),
		})
		lastScan, lastPos, lastOffset = scan-backward, pos-backward, pos-scan
	}
	return all
}

func (m *matcher) fits(at, old int) int {
	if old >= 0 && old < len(m.old) && m.old[old] == m.new[at] {
		return 1
	}
	return 0
}

// equal counts equal bytes from two places on, up to a limit.
func (m *matcher) equal(at, old, limit int) int {
	if old < 0 {
		return 0
	}
	limit = min(limit, len(m.new)-at, len(m.old)-old)
	n := 0
	for n < limit && m.new[at+n] == m.old[old+n] {
		n++
	}
	return max(n, 0)
}

// forward is how far the copy from lastPos is worth going on.
func (m *matcher) forward(lastScan, lastPos, scan int) int {
	best, bestScore, score := 0, 0, 0
	for i := 0; lastScan+i < scan && lastPos+i < len(m.old); {
		if m.old[lastPos+i] == m.new[lastScan+i] {
			score++
		}
		i++
		if score*2-i > bestScore {
			bestScore, best = score*2-i, i
		}
	}
	return best
}

// backward is how far before scan the next copy may start.
func (m *matcher) backward(lastScan, scan, pos int) int {
	best, bestScore, score := 0, 0, 0
	for i := 1; scan >= lastScan+i && pos >= i; i++ {
		if m.old[pos-i] == m.new[scan-i] {
			score++
		}
		if score*2-i > bestScore {
			bestScore, best = score*2-i, i
		}
	}
	return best
}

// cut divides bytes that both the last and the next copy could give.
func (m *matcher) cut(overlap, lastEnd, lastOldEnd, start, oldStart int) int {
	best, bestScore, score := 0, 0, 0
	for i := range overlap {
		at := lastEnd - overlap + i
		score += m.fits(at, lastOldEnd-overlap+i) - m.fits(start+i, oldStart+i)
		if score > bestScore {
			bestScore, best = score, i+1
		}
	}
	return best
}

// longest finds the longest run of old bytes that the new bytes at scan start
// with, unless that is shorter than a prefix. Of equally long ones it takes
// what binary search meets first.
func (m *matcher) longest(scan int) (length, pos int) {
	want := m.new[scan:]
	if len(want) < m.prefix {
		return 0, 0
	}
	key := 0
	for _, b := range want[:m.prefix] {
		key = key<<8 | int(b)
	}
	low, high := int(m.starts[key]), int(m.starts[key+1])
	lowLen, highLen := 0, 0 // bytes that the suffixes at both ends share with want
	for low < high {
		middle := int(uint(low+high) >> 1)
		suffix := m.old[m.sa[middle]:]
		n := min(lowLen, highLen)
		limit := min(len(suffix), len(want), maxMatch)
		for n < limit && suffix[n] == want[n] {
			n++
		}
		if n > length {
			length, pos = n, int(m.sa[middle])
		}
		if n == limit && len(suffix) > n {
			return length, pos
		}
		if n == len(suffix) || suffix[n] < want[n] {
			low, lowLen = middle+1, n
		} else {
			high, highLen = middle, n
		}
	}
	return length, pos
}

// maxMatch bounds the work of one search.
const maxMatch = 1 << 16
