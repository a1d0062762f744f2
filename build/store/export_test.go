package store

// DiskError lets a test see what becomes of a full disk.
var DiskError = diskError
