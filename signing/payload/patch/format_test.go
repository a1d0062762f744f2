package patch_test

import "hash/crc32"

// formatSum is of the patch that TestFormat makes.
const formatSum = "4491 bytes, 68a53dd7"

func crc(b []byte) uint32 { return crc32.ChecksumIEEE(b) }
