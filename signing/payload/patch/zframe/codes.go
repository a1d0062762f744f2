package zframe

import (
	"math/bits"
	"sort"
)

// Numbers are coded as a code and extra bits: RFC 8878, section 3.1.1.3.2.1.1.

var literalBase = [36]uint32{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64,
	128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536,
}

var literalBits = [36]uint8{
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6,
	7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
}

var matchBase = [53]uint32{
	3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
	28, 29, 30, 31, 32, 33, 34, 35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027,
	2051, 4099, 8195, 16387, 32771, 65539,
}

var matchBits = [53]uint8{
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10,
	11, 12, 13, 14, 15, 16,
}

// maxOffsetCode bounds offsets to what fits 32 bits.
const maxOffsetCode = 31

func codeOf(base []uint32, v uint32) uint8 {
	if v < 16 {
		if base[0] == 0 {
			return uint8(v)
		}
		return uint8(v - base[0])
	}
	return uint8(sort.Search(len(base), func(i int) bool { return base[i] > v }) - 1)
}

func offsetCode(v uint32) uint8 { return uint8(bits.Len32(v) - 1) }

// The kinds of codes, in the order of their tables in a block.
const (
	literalLengths = iota
	offsets
	matchLengths
)

// kind is what differs between the tables of the kinds.
type kind struct {
	maxLog     uint8
	symbols    int
	defaultLog uint8
	defaults   []int16
}

var kinds = [3]kind{
	{9, 36, 6, []int16{
		4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
		-1, -1, -1, -1}},
	{8, 32, 5, []int16{
		1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}},
	{9, 53, 6, []int16{
		1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}},
}
