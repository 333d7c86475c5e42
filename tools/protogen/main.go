// Command protogen generates the Go code of the protos under a root folder with the plugins pinned
// in tools/go.mod. It needs no protoc: it compiles with protocompile and takes imported protos
// (google.protobuf, grpc.health.v1) from the Go packages that carry them.
//
// Usage: protogen ROOT FILE...
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	_ "google.golang.org/grpc/health/grpc_health_v1" // registers grpc/health/v1/health.proto
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: protogen ROOT FILE...")
	}
	root, files := args[0], args[1:]
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{root}},
			protocompile.ResolverFunc(linkedIn),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return err
	}
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      proto.String("paths=source_relative"),
	}
	seen := map[string]bool{}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		req.ProtoFile = append(req.ProtoFile, fileProto(fd))
	}
	for _, fd := range compiled {
		add(fd)
	}
	for _, fd := range req.ProtoFile {
		if err := asLinkedIn(fd); err != nil {
			return err
		}
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := generate(ctx, plugin, root, req, nil); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	// What is on the path of every write gets methods that use no reflection.
	req.FileToGenerate = slices.DeleteFunc(slices.Clone(files), func(name string) bool {
		return !strings.HasSuffix(name, "/log.proto") && !strings.HasSuffix(name, "/peer.proto")
	})
	req.Parameter = proto.String("paths=source_relative,features=marshal+unmarshal+size")
	i := 0
	err = generate(ctx, "protoc-gen-go-vtproto", root, req, func(code string) (string, error) {
		i++
		return strict(code, compiled.FindFileByPath(req.FileToGenerate[i-1]))
	})
	if err != nil {
		return fmt.Errorf("protoc-gen-go-vtproto: %w", err)
	}
	if err := gateway(ctx, root, req); err != nil {
		return fmt.Errorf("protoc-gen-grpc-gateway: %w", err)
	}
	if err := document(root, compiled.FindFileByPath(apiProto)); err != nil {
		return fmt.Errorf("OpenAPI: %w", err)
	}
	return nil
}

// linkedIn finds a proto that a Go package of this binary registered.
func linkedIn(path string) (protocompile.SearchResult, error) {
	fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Desc: fd}, nil
}

// asLinkedIn returns an error if fd is a copy of a standard proto and differs from the original.
func asLinkedIn(fd *descriptorpb.FileDescriptorProto) error {
	original, err := protoregistry.GlobalFiles.FindFileByPath(fd.GetName())
	if err != nil {
		return nil // it is ours alone
	}
	bare := proto.Clone(fd).(*descriptorpb.FileDescriptorProto)
	bare.SourceCodeInfo = nil
	if !proto.Equal(bare, protodesc.ToFileDescriptorProto(original)) {
		return fmt.Errorf("%s differs from the standard's", fd.GetName())
	}
	return nil
}

// fileProto keeps the comments, which protodesc drops.
func fileProto(fd protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	if r, ok := fd.(interface {
		FileDescriptorProto() *descriptorpb.FileDescriptorProto
	}); ok {
		return r.FileDescriptorProto()
	}
	return protodesc.ToFileDescriptorProto(fd)
}

// generate runs a plugin and writes what it makes, changed by edit unless that is nil: it is called with
// each file of the request, in order.
func generate(ctx context.Context, name, root string, req *pluginpb.CodeGeneratorRequest, edit func(string) (string, error)) error {
	files, err := plugin(ctx, name, req)
	if err != nil {
		return err
	}
	for _, f := range files {
		content := f.GetContent()
		if edit != nil {
			var err error
			if content, err = edit(content); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(root, f.GetName()), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plugin runs a plugin and returns the files that it makes.
func plugin(ctx context.Context, name string, req *pluginpb.CodeGeneratorRequest) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	resp := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(out.Bytes(), resp); err != nil {
		return nil, err
	}
	if resp.Error != nil {
		return nil, errors.New(*resp.Error)
	}
	return resp.File, nil
}
