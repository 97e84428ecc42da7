// The API's description, as Swagger UI shows it. Nothing is asked of other sites: its validator's
// badge would tell one of them this address.
"use strict";

SwaggerUIBundle({ url: "/v1/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
