package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/rollcallhq/rollcall/tools/protogen/openapi"
)

const (
	routesFile = "rest.yaml"                  // below the root: which HTTP request is which call
	handFile   = "openapi.yaml"               // what else the OpenAPI document says
	apiProto   = "rollcall/v1/rollcall.proto" // whose calls they are
	restFolder = "rollcall/rest/v1"           // where what is generated for them goes
	apiPackage = "rollcallv1"
	restName   = "restv1"
)

// gateway generates the HTTP routes of the API into a package of their own, so that who imports the API alone does
// not import grpc-gateway.
func gateway(ctx context.Context, root string, req *pluginpb.CodeGeneratorRequest) error {
	req = proto.Clone(req).(*pluginpb.CodeGeneratorRequest)
	req.FileToGenerate = []string{apiProto}
	req.Parameter = proto.String(strings.Join([]string{
		"paths=source_relative",
		"standalone=true", // imports the API's package
		"grpc_api_configuration=" + filepath.Join(root, routesFile),
		"strict_deep_wildcard=true", // "/services" is the list, and not the service ""
		"omit_package_doc=true",     // doc.go has it
	}, ","))
	files, err := plugin(ctx, "protoc-gen-grpc-gateway", req)
	if err != nil {
		return err
	}
	if len(files) != 1 {
		return fmt.Errorf("%d files instead of one", len(files))
	}
	// The plugin takes the name of the package from the proto, whatever the package is.
	code := files[0].GetContent()
	clause := "\npackage " + apiPackage + "\n"
	if strings.Count(code, clause) != 1 {
		return fmt.Errorf("no line %q: the generator has changed", strings.TrimSpace(clause))
	}
	code = strings.Replace(code, clause, "\npackage "+restName+"\n", 1)
	if err := os.MkdirAll(filepath.Join(root, restFolder), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, restFolder, filepath.Base(files[0].GetName())), []byte(code), 0o644)
}

// document generates the OpenAPI document of the routes.
func document(root string, api protoreflect.FileDescriptor) error {
	made, err := openapi.Document(api, filepath.Join(root, routesFile), filepath.Join(root, handFile))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, restFolder, "openapi.json"), made, 0o644)
}
