package disk

// GRUBConfig and GRUBMkimageArgs show what grub-mkimage is given.
var (
	GRUBConfig      = grubConfig
	GRUBMkimageArgs = grubMkimageArgs
)

// ReadBack is readBack.
var ReadBack = readBack
