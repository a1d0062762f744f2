// Package fat writes a FAT32 file system once, from a tree, reads one into a
// tree, and replaces a file of one so that a power cut leaves the old file or
// the new one: the EFI system partition and the OEM partition.
//
// Every directory and file that Write writes lies in consecutive clusters, in
// path order, and equal inputs give equal bytes. Nothing but the content of
// one file at a time is ever changed in a file system that exists, and the
// package knows neither FAT12, FAT16 nor exFAT. Owners, modes and
// hard links do not exist on FAT: owner and mode are left out, a hard link
// becomes a copy.
//
// Sectors, from the start of the partition:
//
//	0           boot sector with the parameters
//	1           free space information
//	6, 7        copies of both
//	32          first FAT, then the second; a FAT entry is 4 bytes per cluster
//	...         clusters, number 2 first; 2 is the root directory
//
// Format: Microsoft Extensible Firmware Initiative FAT32 File System
// Specification, version 1.03, 6 December 2000, and, for long names, section
// "FAT Long Directory Entries" of it.
package fat

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"
)

const (
	fatCopies     = 2
	minReserved   = 32
	infoSector    = 1
	backupSector  = 6
	rootCluster   = 2
	entrySize     = 32
	maxDirEntries = 65536
	maxNameUnits  = 255 // UTF-16 code units
	maxFileSize   = 1<<32 - 1

	// minClusters makes a file system FAT32: with fewer a reader takes it for
	// FAT16, whatever else it says.
	minClusters = 65525
	maxClusters = 0x0FFFFFF5 // numbers from 0x0FFFFFF7 on mean something else

	entryMask  = 0x0FFFFFFF
	badCluster = 0x0FFFFFF7
	noMirror   = 0x80 // flags: only one FAT is in use, and it need not be the first
	endOfChain = 0x0FFFFFFF
	endMarks   = 0x0FFFFFF8 // and above end a chain
	media      = 0xF8

	attrLabel    = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLong     = 0x0F
	attrLongMask = 0x3F

	lastLong      = 0x40 // order of the entry that holds the end of a long name
	unitsPerEntry = 13

	lowerBase = 0x08 // Windows NT: the base name of a short entry is lower case
	lowerExt  = 0x10
)

// dosTime gives date and time of day as FAT stores them, in UTC. The format
// counts in two seconds from 1980 to 2107.
func dosTime(seconds int64) (date, clock uint16, err error) {
	t := time.Unix(seconds, 0).UTC()
	if t.Year() < 1980 || t.Year() > 2107 {
		return 0, 0, fmt.Errorf("time %s is outside of 1980 to 2107", t.Format(time.RFC3339))
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	return date, uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2), nil
}

// unixTime is the inverse of dosTime; nonsense gives the nearest valid time.
func unixTime(date, clock uint16) int64 {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC).Unix()
}

// shortChecksum ties the entries of a long name to their short entry.
func shortChecksum(short [11]byte) byte {
	sum := byte(0)
	for _, c := range short {
		sum = (sum>>1 | sum<<7) + c
	}
	return sum
}

// longUnits gives the places of the 13 code units in a long name's entry.
func longUnits() [unitsPerEntry]int {
	return [...]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
}

// encodeLong gives the entries of a long name in the order of the disk, the
// end of the name first.
func encodeLong(name string, short [11]byte) []byte {
	units := utf16.Encode([]rune(name))
	count := (len(units) + unitsPerEntry - 1) / unitsPerEntry
	sum := shortChecksum(short)
	entries := make([]byte, 0, count*entrySize)
	for order := count; order > 0; order-- {
		var e [entrySize]byte
		e[0], e[11], e[13] = byte(order), attrLong, sum
		if order == count {
			e[0] |= lastLong
		}
		for k, at := range longUnits() {
			unit := uint16(0xFFFF)
			switch i := (order-1)*unitsPerEntry + k; {
			case i < len(units):
				unit = units[i]
			case i == len(units):
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
		entries = append(entries, e[:]...)
	}
	return entries
}
