//! `twofa send-test`: one message, to see whether SNS takes it.

use clap::Args;
use serde_json::json;
use twofa::aws::message_service::{MessageService, Published};
use twofa::domain::message::Sms;

use crate::error::{Error, ValidationErrors};
use crate::input::{self, RecipientOptions, masked};
use crate::output::Report;
use crate::preview::{fill, parameters};
use crate::target::Target;
use crate::template;
use crate::text::{self, parts_text};

/// Sends a template's message to a number, with a code that validates nothing
///
/// It goes straight to SNS with your credentials: no limit counts it, no balance pays for it, and AWS bills
/// it. It shows whether SNS takes the sender and the number; that it arrives, only the phone shows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa send-test --client shop --template Login +44 7400 123456
  twofa send-test --client shop --template Pay --param amount=5 +44 7400 123456")]
pub(crate) struct SendTestCommand {
    #[command(flatten)]
    recipient: RecipientOptions,
    /// The template's id or name
    #[arg(long)]
    template: String,
    /// A value for a placeholder; repeat it for each
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

impl SendTestCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target) -> Result<Report, Error> {
        let mut errors = ValidationErrors::default();
        let parameters = parameters(&self.parameters, &mut errors);
        let number = self.recipient.number()?;
        let client = input::client(target, &self.recipient.client).await?;
        let template = template::find(&client, &self.template)?;
        let length = template.code_length;
        let text = fill(&template.text, length, &parameters, &mut errors)?;
        let sms = errors.take("text", Sms::compose(text));
        let Some(sms) = errors.finish(sms)? else {
            return Err(Error::invalid("text", "is too long"));
        };
        let profile = &client.profile;
        let price = profile.max_price.as_deref();
        let service = MessageService::new(target.sns.clone());
        let id = match service.publish(&sms, &number, &template.from, price).await {
            Published::Taken(id) => id,
            Published::Refused(error) | Published::NotTaken(error) | Published::Unknown(error) => {
                return Err(Error::NotSent(error));
            }
        };
        let (number_type, country) = (number.number_type(), number.country());
        let mut warnings: Vec<_> = text::sender_warning(&template.from).into_iter().collect();
        if !profile.number_types.contains(&number_type) {
            let name = number_type.as_str();
            warnings.push(format!(
                "the client does not send to numbers of the type {name}"
            ));
        }
        if !profile.countries.permit(country) {
            warnings.push(format!("the client may not send to {}", country.as_str()));
        }
        let from = template.from.as_str();
        let to = masked(&number);
        let text = format!(
            "SNS took the message to {to} from {from}, {}, as {id}",
            parts_text(sms.parts())
        );
        let json = json!({ "to": to, "from": from, "parts": sms.parts(), "message_id": id });
        Ok(Report::new(text, json).warn(warnings))
    }
}
