// Package writestream carries the writes of many callers to one endpoint over one stream, Admin.WriteStream. It does
// so only while several callers wait at the same time: a write that is alone is a call of its own, and so is each
// write while no stream is open. A stream that was not used for a while ends by itself.
//
// What became of a write whose stream broke, and where it is tried again, does not belong here (package client).
package writestream
