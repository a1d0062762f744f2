package archive

// Internals that tests look at.
var (
	ParseRelease    = parseRelease
	ParsePackage    = parsePackage
	DecodeDirectory = decodeDirectory
)

// ScanDirectory and EncodeDirectory name an unexported type.
var ScanDirectory = scanDirectory

func EncodeDirectory(d *directory) []byte { return d.encode() }
