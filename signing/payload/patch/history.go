package patch

import "encoding/binary"

// history is the latest content of the frame that is being made, and where in
// it equal bytes are. A compressor that looks for the shortest offsets leaves
// little choice: of a match's place and length its offset follows.
type history struct {
	buf   []byte // content from base on
	base  int64
	added int64 // places before this one can be found

	prev  []uint32 // by place: the latest place before it with the same hash
	four  []uint32 // by hash of four bytes: the latest place, plus one
	three []uint32 // likewise of three
}

const (
	// reach is how far back history looks at least, in bytes.
	reach = 1 << 20
	// maxSteps bounds the work of one search.
	maxSteps = 512

	fourBits, threeBits = 17, 15

	historyMemory = 2*reach + 4*reach + 4<<fourBits + 4<<threeBits
)

func newHistory() *history {
	return &history{
		buf: make([]byte, 0, 2*reach), prev: make([]uint32, reach),
		four: make([]uint32, 1<<fourBits), three: make([]uint32, 1<<threeBits),
	}
}

func (h *history) reset() {
	h.buf, h.base, h.added = h.buf[:0], 0, 0
	clear(h.four)
	clear(h.three)
}

// append adds content.
func (h *history) append(b []byte) {
	if len(h.buf)+len(b) > cap(h.buf) {
		drop := len(h.buf) - reach
		h.buf = h.buf[:copy(h.buf, h.buf[drop:])]
		h.base += int64(drop)
	}
	h.buf = append(h.buf, b...)
}

func hashFour(v uint32) uint32  { return v * 0x9e3779b1 >> (32 - fourBits) }
func hashThree(v uint32) uint32 { return v << 8 * 0x9e3779b1 >> (32 - threeBits) }

// find makes the places before one known.
func (h *history) know(place int64) {
	at := max(h.added, h.base)
	end := min(place, h.base+int64(len(h.buf))-4)
	for ; at < end; at++ {
		v := binary.LittleEndian.Uint32(h.buf[at-h.base:])
		head := &h.four[hashFour(v)]
		h.prev[at&(reach-1)] = *head
		*head = uint32(at) + 1
		h.three[hashThree(v)] = uint32(at) + 1
	}
	h.added = max(h.added, at)
}

// pass leaves out places up to one.
func (h *history) pass(place int64) { h.added = max(h.added, place) }

// holds tells whether n bytes at place are those an offset before it. known is
// false if that is too far back to tell.
func (h *history) holds(place int64, offset, n uint32) (equal, known bool) {
	from := place - int64(offset)
	if from < h.base || offset > reach {
		return false, from >= 0
	}
	a, b := h.buf[from-h.base:], h.buf[place-h.base:]
	for i := range int(n) {
		if a[i] != b[i] {
			return false, true
		}
	}
	return true, true
}

// nearest finds the shortest offset at which n bytes at place are repeated, or
// gives 0.
func (h *history) nearest(place int64, n uint32) uint32 {
	h.know(place)
	want := h.buf[place-h.base:]
	if len(want) < 4 || n < 3 {
		return 0
	}
	v := binary.LittleEndian.Uint32(want)
	if n == 3 {
		at := int64(h.three[hashThree(v)]) - 1
		if at >= h.base && place-at <= reach {
			if equal, _ := h.holds(place, uint32(place-at), 3); equal {
				return uint32(place - at)
			}
		}
		return 0
	}
	at := int64(h.four[hashFour(v)]) - 1
	for range maxSteps {
		if at < h.base || place-at >= reach {
			return 0
		}
		have := h.buf[at-h.base:]
		if binary.LittleEndian.Uint32(have) == v && have[n-1] == want[n-1] && string(have[:n]) == string(want[:n]) {
			return uint32(place - at)
		}
		next := int64(h.prev[at&(reach-1)]) - 1
		if next >= at {
			return 0
		}
		at = next
	}
	return 0
}
