//! The table of a service's operations and their handlers.

/// `Operation => handler`: the handler is an `async fn(&Service, &Context, OperationRequest)` that
/// returns `Result<OperationResponse, ApiError>`. The support table lists no operation without one: that
/// would not compile.
///
/// Inside the braces first the service's type and its generated module.
macro_rules! handlers {
    ($service:ident in $generated:path { $($operation:ident => $handler:path,)* }) => {
        use $generated::{Request, Response};

        impl $service {
            /// Carries out a request.
            pub async fn call(
                &self,
                context: &Context,
                request: Request,
            ) -> Result<Response, ApiError> {
                // A service that has no operations yet has no use for it.
                let _ = context;
                match request {
                    $(Request::$operation(request) => {
                        $handler(self, context, *request).await.map(Response::from)
                    })*
                }
            }
        }
    };
}

pub(crate) use handlers;
